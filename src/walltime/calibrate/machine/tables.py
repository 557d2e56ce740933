"""Measured kernels of one machine as tables that the fits take."""

from collections.abc import Mapping, Sequence

import numpy as np

from walltime.arrays import Floats
from walltime.calibrate.machine.attention import AttentionRows
from walltime.calibrate.machine.memory import MemoryRows
from walltime.calibrate.matmul import FITTED_SOURCE, Rows
from walltime.measure.kernel_rows import (
    ADD,
    ATTENTION_BACKWARD,
    ATTENTION_FORWARD,
    COPY,
    GEMM,
    LAUNCH,
    MEMORY_OPS,
    OK,
    KernelRow,
)

WORD_BYTES: Mapping[str, float] = {"bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "fp32": 4.0, "tf32": 4.0, "fp64": 8.0}
"""Bytes of a number of a factor."""
MOVING_OPS = (COPY, ADD)
"""Memory-bound on a processor, too, where a norm computes for longer than it moves."""
_LEAST_OUT_BYTES = 2.0
"""Products of eight-bit factors are written in 16 bits."""
_TERA = 1e12
_ATTENTION = {"": "flash-attention-2", "flash_attention": "flash-attention-2", "cudnn_attention": "cudnn"}
"""What the catalog calls the kernels of PyTorch's attention, flash attention of processors too. Where PyTorch did not
say, its default ran; the other kernels, and attention that is not fused, the catalog does not have."""


def matmul_tables(rows: Sequence[KernelRow]) -> dict[str, Rows]:
    """Return the measured products of each precision."""
    found: dict[str, list[tuple[float, ...]]] = {}
    for row in rows:
        m, n, k, groups = row.m or 0, row.n or 0, row.k or 0, row.groups or 1
        if row.op == GEMM and _is_ok(row) and min(m, n, k) > 0 and row.dtype in WORD_BYTES:
            time_s = row.time_s or 2.0 * m * n * k * groups / ((row.tflops or 0) * _TERA)
            out_bytes = max(WORD_BYTES[row.dtype], _LEAST_OUT_BYTES)
            found.setdefault(row.dtype, []).append((m, n, k, groups, out_bytes, time_s))
    return {precision: Rows(*np.array(table, dtype=float).T) for precision, table in sorted(found.items())}


def with_cast(rows: Sequence[KernelRow]) -> bool:
    """Return whether eight-bit products include the cast of their first factor, as one published source has them."""
    return any(row.source_id == FITTED_SOURCE for row in rows)


def attention_tables(rows: Sequence[KernelRow]) -> dict[tuple[str, str], dict[str, AttentionRows]]:
    """Return measured attention by (kernel of the catalog, precision) and pass: ``forward``, ``backward``."""
    found: dict[tuple[str, str], dict[str, list[KernelRow]]] = {}
    for row in rows:
        kernel = attention_kernel(row)
        if row.op in (ATTENTION_FORWARD, ATTENTION_BACKWARD) and _is_ok(row) and row.time_s and kernel:
            key = (kernel, row.dtype)
            found.setdefault(key, {}).setdefault(row.op.removeprefix("attention_"), []).append(row)
    return {key: {name: _attention(some) for name, some in passes.items()} for key, passes in sorted(found.items())}


def attention_kernel(row: KernelRow) -> str | None:
    """Return what the catalog calls the kernel of a row of attention, None if it has no such kernel."""
    return _ATTENTION.get(row.backend)


def _attention(rows: Sequence[KernelRow]) -> AttentionRows:
    def column(values: list[float]) -> Floats:
        return np.array(values, dtype=float)

    return AttentionRows(
        num_heads=column([(row.batch or 1) * (row.n_heads or 1) for row in rows]),
        q_len=column([row.seq_len or 1 for row in rows]),
        head_dim=column([row.qk_head_dim or 1 for row in rows]),
        value_dim=column([row.v_head_dim or row.qk_head_dim or 1 for row in rows]),
        causal=np.array([row.causal is not False for row in rows]),
        time_s=column([row.time_s or 0.0 for row in rows]),
    )


def memory_table(rows: Sequence[KernelRow], ops: Sequence[str] = MEMORY_OPS) -> MemoryRows | None:
    """Return the measured memory-bound kernels, of these kinds; None if there are none."""
    used = [row for row in rows if row.op in ops and _is_ok(row) and (row.num_bytes or 0) > 0 and row.time_s]
    if not used:
        return None
    return MemoryRows(
        op=np.array([row.op for row in used]),
        num_bytes=np.array([float(row.num_bytes or 0) for row in used]),
        time_s=np.array([row.time_s or 0.0 for row in used]),
    )


def launch_s(rows: Sequence[KernelRow]) -> float | None:
    """Return the median time of an empty kernel, None if none was measured. [s]"""
    times_s = [row.time_s for row in rows if row.op == LAUNCH and _is_ok(row) and row.time_s]
    return float(np.median(times_s)) if times_s else None


def _is_ok(row: KernelRow) -> bool:
    return row.status in ("", OK) and (row.time_s or row.tflops or 0) > 0
