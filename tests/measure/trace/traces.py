"""Builders of traces for the tests: events in words, written as the profiler writes them."""

import gzip
import json

GEMM = "void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm>"
ALL_GATHER = "ncclDevKernel_AllGather_RING_LL(ncclDevKernelArgsStorage<4096ul>)"
ALL_REDUCE = "ncclKernel_AllReduce_RING_LL_Sum_float(ncclWorkElem)"
REDUCE_SCATTER = "ncclDevKernel_ReduceScatter_Sum_f32_RING_LL(ncclDevKernelArgsStorage<4096ul>)"
SEND_RECV = "ncclDevKernel_SendRecv(ncclDevKernelArgsStorage<4096ul>)"


def event(cat, name, begin_us, end_us, tid=7, pid=0, **args):
    return {
        "ph": "X",
        "cat": cat,
        "name": name,
        "pid": pid,
        "tid": tid,
        "ts": begin_us,
        "dur": end_us - begin_us,
        "args": args,
    }


def kernel(begin_us, end_us, name=GEMM, tid=7, **args):
    return event("kernel", name, begin_us, end_us, tid, **args)


def step(number, begin_us, end_us, cat="gpu_user_annotation", tid=7):
    return event(cat, f"ProfilerStep#{number}", begin_us, end_us, tid)


def operator(begin_us, end_us, name="aten::mm", tid=1):
    return event("cpu_op", name, begin_us, end_us, tid, pid=1)


def annotation(begin_us, end_us, name, tid=1):
    return event("user_annotation", name, begin_us, end_us, tid, pid=1)


def written(path, events, **document):
    """Write a trace; packed if its name says so."""
    content = json.dumps({"schemaVersion": 1, **document, "traceEvents": events}).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path
