"""Rows of machines whose numbers are known: what a fit must find again."""

import csv
import io

import numpy as np

from walltime.engines.calibration import AcceleratorNumbers, StackNumbers
from walltime.physics.kernels import AttentionKernel, AttentionPass, MatmulKernel, attention_time_s, matmul_time_s
from walltime.physics.links import (
    LinkLevel,
    all_gather_time_s,
    all_reduce_time_s,
    all_to_all_time_s,
    reduce_scatter_time_s,
    send_time_s,
)

CPU_NAME = "Fast(R) Processor, 1 core"
CPU_PEAK, CPU_BYTES_PER_S = 2e11, 3e10
CPU_MATMUL = MatmulKernel(
    max_efficiency=0.9, max_hbm_fraction=2.0, half_k=20.0, tail_fraction=0.01, tail_k=8000.0,
    tile_m=4, tile_n=16, tile_step=16, small_tile_m=4, small_tile_n=16, small_tile_cost=1.0,
    num_cores=1, latency_s=5e-6,
)  # fmt: skip
CPU_ATTENTION = AttentionKernel(
    AttentionPass(0.4, 60.0, 10.0, 1.0, 0.0), AttentionPass(0.3, 90.0, 10.0, 1.0, 0.0), 128, 32, 1, 2e-5
)
CPU_LINK = LinkLevel(
    bytes_per_s=4e9, efficiency=0.95, start_s=4e-5, hop_s=2e-5, tree_start_s=3e-5, tree_hop_s=4e-5,
    tree_efficiency=0.6, all_to_all_efficiency=0.8, send_efficiency=0.9, peer_s=2e-5, copy_share=0.2,
)  # fmt: skip
CHIP = AcceleratorNumbers(0.8, 0.8, 0.7, 0.75, 0.55, 1.3)
STACK = StackNumbers(
    kernel_efficiency=1.0, scaled_efficiency=0.9, four_bit_efficiency=0.7, memory_factor=1.6, kernel_gap_s=3e-5,
    host_layer_s=4e-4, host_moe_s=2e-3, microbatch_s=3e-3, step_s=2e-2, overlap_dp=0.15, overlap_tp=0.3,
    overlap_ep=0.2, overlap_pp=0.8, contention=0.3, tp_factor=1.5, shard_rank_s=1e-3, dp_factor=1.8,
)  # fmt: skip
KERNEL_COLUMNS = (
    *("source_id", "gpu", "op", "m", "n", "k", "dtype", "latency_ms", "power_w"),
    *("batch", "seq_len", "n_heads", "n_kv_heads", "qk_head_dim", "v_head_dim", "causal", "num_bytes", "environment"),
)


def csv_of(rows):
    """Rows as CSV: every column that any of them has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def kernel_rows(gpu=CPU_NAME, noise=0.01, seed=0, environment=""):
    """Kernels of the processor above."""
    rng = np.random.default_rng(seed)
    usual = dict.fromkeys(KERNEL_COLUMNS, "") | {"source_id": "walltime", "gpu": gpu, "environment": environment}

    def row(time_s, **cells):
        shown = repr(float(time_s * np.exp(rng.normal(0, noise)) * 1e3))
        return usual | {"dtype": "fp32", "latency_ms": shown} | cells

    rows = [
        row(matmul_time_s(m, n, k, CPU_MATMUL, CPU_PEAK, CPU_BYTES_PER_S, 4, 4), op="gemm", m=m, n=n, k=k)
        for m in (16, 64, 256, 1024)
        for n, k in ((64, 64), (256, 256), (256, 1024), (1024, 256), (1024, 1024), (2048, 2048))
    ]
    for backward, op in ((False, "attention_forward"), (True, "attention_backward")):
        for seq_len in (64, 128, 256, 512):
            for heads, width in ((4, 32), (8, 64)):
                args = (heads, seq_len, seq_len, CPU_ATTENTION, CPU_PEAK, width, width)
                time_s = attention_time_s(*args, backward=backward)
                cells = {"batch": 1, "seq_len": seq_len, "n_heads": heads, "n_kv_heads": heads}
                rows.append(row(time_s, op=op, **cells, qk_head_dim=width, v_head_dim=width, causal="true"))
    rows += [
        row(5e-6 + num_bytes / (0.75 * CPU_BYTES_PER_S), op=op, num_bytes=num_bytes)
        for num_bytes in (2**22, 2**24, 2**26)
        for op in ("copy", "add")
    ]
    rows.append(row(CPU_BYTES_PER_S**-1 * 2**25, op="copy", num_bytes=2**25))
    return [*rows, row(4e-6, op="launch")]


COLLECTIVES = {
    "all_reduce": all_reduce_time_s,
    "all_gather": all_gather_time_s,
    "reduce_scatter": reduce_scatter_time_s,
    "alltoall": all_to_all_time_s,
}


def collective_rows(gpu=CPU_NAME, ranks=(2, 4), noise=0.01, seed=0):
    """Collectives between processes of one node."""
    rng = np.random.default_rng(seed)
    rows = []
    for n in ranks:
        for size in np.geomspace(512, 2**26, 9).round():
            times_s = {name: function(size, [CPU_LINK], (n,)) for name, function in COLLECTIVES.items()}
            times_s["sendrecv"] = send_time_s(size, CPU_LINK)
            for name, time_s in times_s.items():
                latency_us = float(time_s * np.exp(rng.normal(0, noise)) * 1e6)
                cells = {"collective": name, "n_gpus": n, "n_nodes": 1, "gpus_per_node": max(ranks)}
                rows.append({"source_id": "walltime", "gpu": gpu, **cells, "size_bytes": int(size)} | {
                    "dtype": "fp32", "latency_us": repr(latency_us), "busbw_GBps": "", "notes": "",
                })  # fmt: skip
    return rows


MODELS = (
    {"n_layers": 2, "d_model": 256, "d_ff": 1024, "n_heads": 8, "n_kv_heads": 4, "vocab": 4096},
    {"n_layers": 4, "d_model": 512, "d_ff": 1536, "n_heads": 8, "n_kv_heads": 8, "vocab": 8192},
    {"n_layers": 8, "d_model": 256, "d_ff": 768, "n_heads": 4, "n_kv_heads": 4, "vocab": 2048},
)
PLANS = (
    {"tp": 1, "pp": 1, "dp": 2, "sharding": "zero3"},
    {"tp": 1, "pp": 1, "dp": 2, "sharding": "ddp"},
    {"tp": 2, "pp": 1, "dp": 1, "sharding": "zero3", "sequence_parallel": "true"},
    {"tp": 1, "pp": 2, "dp": 1, "sharding": "zero3"},
)


def training_rows(gpu=CPU_NAME):
    """Training steps without their times."""
    return [
        {
            "model_name": f"tiny-{i}", "gpu": gpu, "gpus_per_node": 2, "n_gpus": 2, "cp": 1, "micro_batch": micro,
            "seq_len": seq_len, "global_batch_seqs": batch, "activation_recompute": "none", "precision": "fp32",
            "framework": "walltime measure (PyTorch 2.13.0)", "notes": "torch_compile=false", "step_time_s": "1",
            **model, **plan,
        }
        for i, model in enumerate(MODELS)
        for plan in PLANS
        for seq_len, batch, micro in ((64, 4, 1), (128, 8, 2), (256, 8, 4))
    ]  # fmt: skip
