"""Measured kernels as rows of a CSV file: matmuls, attention, memory-bound kernels and launches in one format.

The first sixteen columns are those of published matmuls (`walltime.calibrate.matmul.read_rows` reads them); the others
say what the first ones cannot, and how well each point was measured.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from walltime.measure.row_files import appended_to, read_rows

SOURCE = "walltime"
GEMM = "gemm"
ATTENTION_FORWARD, ATTENTION_BACKWARD = "attention_forward", "attention_backward"
COPY, ADD, RMSNORM = "copy", "add", "rmsnorm"
LAUNCH = "launch"
MATMUL_OPS = (GEMM,)
ATTENTION_OPS = (ATTENTION_FORWARD, ATTENTION_BACKWARD)
MEMORY_OPS = (COPY, ADD, RMSNORM)
OPS = (*MATMUL_OPS, *ATTENTION_OPS, *MEMORY_OPS, LAUNCH)
OK, OOM = "ok", "oom"


@dataclass(frozen=True)
class KernelRow:
    """One kernel that was measured; None or empty: does not apply, or was not measured.

    Attributes
    ----------
    source_id, source_ref
        ``walltime`` and the command.
    gpu
        The device, as `walltime.measure.devices.Device.name`.
    op
        One of `OPS`. The backward pass of attention is by itself, without the forward pass.
    m, n, k, groups
        Of a product of m x k by k x n numbers, in ``groups`` equal products; ``m`` rows of ``n`` numbers that a
        memory-bound kernel works on.
    dtype
        ``bf16``, ``fp16``, ``fp32`` or ``fp8``.
    layout
        Of a product as BLAS names it: TN has a weight stored as (n, k), as a linear layer does, and NT both factors
        with the summed dimension first, as a weight's gradient does.
    latency_ms, min_ms, p10_ms, p90_ms
        Time of one kernel: the median of samples, the least and the 10th and 90th percentile. [ms]
    tflops
        10^12 FLOP in a second; of attention those that a causal mask leaves, half of all.
    efficiency_of_peak, peak_tflops_used
        Over the dense peak of the catalog's accelerator, where it has the device.
    power_w
        Mean while the kernel ran again and again, of the first process's board. [W]
    notes
        What else there is to know, with the device's message where memory did not do.
    batch, seq_len, n_heads, n_kv_heads, qk_head_dim, v_head_dim, causal, backend
        Of attention: sequences, their length, heads, widths, mask, and the kernel that PyTorch chose.
    num_bytes, gb_per_s
        Bytes that a memory-bound kernel must read and write [B], and 10^9 of them in a second.
    status
        ``ok``, or ``oom`` where memory did not do.
    ci_relative, samples, converged
        Half of the median's 95 % confidence interval over the median, samples, and whether the aim was met in time.
    interruptions
        How often the system gave the process's cores to others, for each sample: much above nothing on a busy machine.
    clock_mhz, memory_clock_mhz, temperature_c
        Means while the kernel ran again and again. [MHz], [degrees Celsius]
    num_ranks
        Processes that measured the same at once, of which the median was kept.
    date
        Of the measurement, UTC, ISO 8601.
    environment
        Id of the manifest in ``environments.json`` beside the file.
    """

    source_id: str = SOURCE
    source_ref: str = ""
    gpu: str = ""
    op: str = ""
    m: int | None = None
    n: int | None = None
    k: int | None = None
    groups: int | None = None
    dtype: str = ""
    layout: str = ""
    latency_ms: float | None = None
    tflops: float | None = None
    efficiency_of_peak: float | None = None
    peak_tflops_used: float | None = None
    power_w: float | None = None
    notes: str = ""
    batch: int | None = None
    seq_len: int | None = None
    n_heads: int | None = None
    n_kv_heads: int | None = None
    qk_head_dim: int | None = None
    v_head_dim: int | None = None
    causal: bool | None = None
    backend: str = ""
    num_bytes: int | None = None
    gb_per_s: float | None = None
    status: str = OK
    ci_relative: float | None = None
    samples: int | None = None
    converged: bool | None = None
    interruptions: float | None = None
    min_ms: float | None = None
    p10_ms: float | None = None
    p90_ms: float | None = None
    clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    temperature_c: float | None = None
    num_ranks: int | None = None
    date: str = ""
    environment: str = ""

    @property
    def time_s(self) -> float | None:
        """Median time of one kernel [s], None where it was not measured."""
        return None if self.latency_ms is None else self.latency_ms / 1e3

    @property
    def point(self) -> tuple[Any, ...]:
        """What was asked for: two rows with the same are of the same kernel, device and environment."""
        return tuple(getattr(self, name) for name in _ASKED)


_ASKED = (
    *("gpu", "op", "m", "n", "k", "groups", "dtype", "layout", "batch", "seq_len", "n_heads", "n_kv_heads"),
    *("qk_head_dim", "v_head_dim", "causal", "num_bytes", "environment"),
)
KERNEL_COLUMNS = tuple(field.name for field in fields(KernelRow))
"""The columns, in the order of the file."""
_REQUIRED = ("gpu", "op", "dtype", "latency_ms")


def read_kernel_rows(path: Path) -> list[KernelRow]:
    """Read measured kernels.

    Raises
    ------
    BadInput
        It is not such a file; the message names line, column and value.
    """
    return read_rows(path, KernelRow, _REQUIRED, "measured kernels", "latency_ms")


def kernel_rows_file(path: Path) -> Callable[[Iterable[KernelRow]], None]:
    """Return a function that appends measured kernels to a file, each on the disk before the function returns.

    Raises
    ------
    BadInput
        There is something else in the file, or it cannot be written.
    """
    return appended_to(path, KernelRow)
