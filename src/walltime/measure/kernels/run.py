"""Measures the points of a grid one after another, within a time budget; running out of memory is a result."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from walltime.catalog import DATASHEET, AcceleratorRecord, parameter_set
from walltime.measure.devices import Device, host_memory_bytes
from walltime.measure.environment import now
from walltime.measure.kernel_rows import ATTENTION_OPS, LAUNCH, OOM, KernelRow
from walltime.measure.kernels.calls import attention_backend, calls
from walltime.measure.kernels.grid import WORD_BYTES, flop
from walltime.measure.kernels.pool import Pool
from walltime.measure.memory_errors import is_out_of_memory, shortened_message
from walltime.measure.nvml import GpuState, PowerSampler, gpu_of
from walltime.measure.records import PowerReading
from walltime.measure.requirements import torch_module
from walltime.measure.sampling import Call, Limits, Sample, hold, launch_time_s, sample
from walltime.measure.together import Together
from walltime.validate.chips import accelerator_of
from walltime.validate.measured import MeasuredRow

_LEAST_POINT_S, _MOST_POINT_S = 0.05, 2.0
"""Time that a point gets: enough for ten samples of most kernels, and no more than makes a difference."""
_POWER_S = 1.0
"""For which a kernel runs again and again while its power is sampled: ten renewals of the sensor."""
_SETTLE_S = 0.5
"""Before that, for which it runs unsampled: a GPU's power and clocks follow within some tenths of a second."""


@dataclass(frozen=True)
class Session:
    """What all points of a measurement share.

    Attributes
    ----------
    together
        The processes.
    environment
        Id of the manifest.
    command
        The command line.
    budget_s
        For all points together. [s]
    target
        Half of the confidence interval over the median that is good enough.
    seed
        Of the numbers.
    """

    together: Together
    environment: str
    command: str
    budget_s: float
    target: float = 0.01
    seed: int = 0

    @property
    def device(self) -> Device:
        """What is measured."""
        return self.together.device


def asked(point: KernelRow, session: Session) -> KernelRow:
    """Return a point of a grid with what makes it one of this session: device, environment, command."""
    reference = f"{session.command}, PyTorch {torch_module().__version__}"
    return replace(point, gpu=session.device.name, environment=session.environment, source_ref=reference)


def measure(points: Sequence[KernelRow], session: Session) -> Iterator[KernelRow]:
    """Yield the points measured, until the budget is spent; all processes get the same rows.

    Parameters
    ----------
    points
        As `asked` returns them.
    session
        What they share.
    """
    pool = Pool(session.device, session.seed)
    held_s = 0.0 if gpu_of(session.device) is None else _SETTLE_S + _POWER_S
    started = time.perf_counter()
    for number, point in enumerate(points):
        left_s = session.budget_s - session.together.largest(time.perf_counter() - started)
        if left_s <= 0:
            return
        share_s = left_s / (len(points) - number) - held_s
        limits = Limits(session.target, min(_MOST_POINT_S, max(_LEAST_POINT_S, share_s)))
        yield _measured(point, session, pool, limits)


def _measured(point: KernelRow, session: Session, pool: Pool, limits: Limits) -> KernelRow:
    together = session.together
    launches, problem = _prepared(point, pool, session)
    point = replace(point, date=now(), num_ranks=together.where.num_ranks)
    if not together.all_agree(problem is None):
        pool.clear()
        return replace(point, status=OOM, notes=problem or "out of memory on another rank")
    found = _over_ranks(_sampled(point, launches, session, limits), together)
    power, state = _powered(launches, session, found.time_s)
    backend = attention_backend(point, pool) if point.op in ATTENTION_OPS else ""
    return _filled(replace(point, backend=backend, notes=_notes(point)), found, power, state)


def _prepared(point: KernelRow, pool: Pool, session: Session) -> tuple[list[Call], str | None]:
    """Return launches that work, or what the device said when its memory did not do."""
    problem = _too_large(point, session)
    if problem:
        return [], problem
    try:
        launches = calls(point, pool)
        launches[0]()
        if session.device.kind == "cuda":
            torch_module().cuda.synchronize()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return [], shortened_message(error)
    return launches, None


def _too_large(point: KernelRow, session: Session) -> str | None:
    """Say that a point needs more than the host has to give; Linux would grant it, and kill the process later."""
    if session.device.kind != "cpu":
        return None
    available = host_memory_bytes("MemAvailable")
    needed = data_bytes(point)
    share = session.together.where.num_local_ranks
    if available is None or needed * share < available:
        return None
    return f"out of memory: {needed * share:,} B for {share} processes, {available:,} B available"


def data_bytes(point: KernelRow) -> int:
    """Return the bytes of a kernel's data: factors and result, or what attention reads and writes with gradients."""
    if point.num_bytes is not None:
        return point.num_bytes
    word = WORD_BYTES[point.dtype]
    if point.m and point.n and point.k:
        return word * (point.m * point.k + point.n * point.k + point.m * point.n)
    numbers = (point.batch or 0) * (point.seq_len or 0) * ((point.n_heads or 0) + (point.n_kv_heads or 0))
    return word * 2 * numbers * ((point.qk_head_dim or 0) + (point.v_head_dim or 0))


def _sampled(point: KernelRow, launches: list[Call], session: Session, limits: Limits) -> Sample:
    session.together.barrier()
    if point.op == LAUNCH:
        return launch_time_s(launches[0], session.device, limits, session.together.all_agree)
    return sample(launches, session.device, limits, session.together.all_agree)


def _over_ranks(found: Sample, together: Together) -> Sample:
    """Return the median over the processes of what each of them measured."""
    shown = (found.ci_relative, found.interruptions)
    mine = [found.time_s, found.min_s, found.p10_s, found.p90_s, float(found.converged)]
    mine += [math.nan if value is None else value for value in shown]
    *times, converged, ci, interruptions = zip(*together.everybodys(mine), strict=True)
    time_s, least, p10, p90 = (median(column) for column in times)
    known = [None if any(map(math.isnan, column)) else median(column) for column in (ci, interruptions)]
    return Sample(time_s, known[0], found.num_samples, all(converged), least, p10, p90, known[1])


def _powered(launches: Sequence[Call], session: Session, once_s: float) -> tuple[PowerReading | None, GpuState]:
    """Power and clocks while the kernel runs again and again; nothing where nobody can say."""
    if gpu_of(session.device) is None:
        return None, GpuState()
    hold(launches, session.device, _SETTLE_S, once_s)
    with PowerSampler(session.device) as sampler:
        hold(launches, session.device, _POWER_S, once_s)
    return sampler.reading(), sampler.state()


def _notes(point: KernelRow) -> str:
    """Say of a point what its columns do not."""
    if point.dtype == "fp8":
        return "factors already in eight bits, one scale each, fast accumulation, result in bf16: no cast in the time"
    if point.op == LAUNCH:
        return "smallest kernel, one after another, as the host launches them"
    if point.dtype == "fp32":
        return f"float32 matmul precision {torch_module().get_float32_matmul_precision()}"
    return ""


def _filled(point: KernelRow, found: Sample, power: PowerReading | None, state: GpuState) -> KernelRow:
    count = flop(point)
    rate = None if count is None else count / found.time_s / 1e12
    peak = _peak_tflops(point.gpu, point.dtype) if rate is not None else None
    return replace(
        point,
        latency_ms=found.time_s * 1e3,
        tflops=rate,
        peak_tflops_used=peak,
        efficiency_of_peak=rate / peak if rate is not None and peak else None,
        gb_per_s=None if point.num_bytes is None else point.num_bytes / found.time_s / 1e9,
        power_w=None if power is None else power.mean_w,
        ci_relative=found.ci_relative,
        samples=found.num_samples,
        converged=found.converged,
        interruptions=found.interruptions,
        min_ms=found.min_s * 1e3,
        p10_ms=found.p10_s * 1e3,
        p90_ms=found.p90_s * 1e3,
        **state._asdict(),
    )


def _peak_tflops(gpu: str, dtype: str) -> float | None:
    """Return the dense peak of the catalog's accelerator, None where it has none of that name. [10^12 FLOP/s]"""
    known = accelerator_of(MeasuredRow(gpu=gpu))
    if known is None:
        return None
    rates = parameter_set(DATASHEET).get(AcceleratorRecord, known).peak_flop_per_s
    return float(rates[dtype].value) / 1e12 if dtype in rates else None


def supported(device: Device) -> list[str]:
    """Return the number formats that a device multiplies in."""
    if device.kind == "cpu":
        return ["fp32", "bf16", "fp16"]
    torch: Any = torch_module()
    capability = torch.cuda.get_device_capability(device.index)
    has_bf16 = torch.version.hip or capability >= _BF16_SINCE
    has_fp8 = capability >= (_FP8_SINCE_ROCM if torch.version.hip else _FP8_SINCE)
    return [*(["bf16"] if has_bf16 else []), "fp16", "fp32", *(["fp8"] if has_fp8 else [])]


_BF16_SINCE, _FP8_SINCE, _FP8_SINCE_ROCM = (8, 0), (8, 9), (9, 4)
"""Compute capability of the first GPUs with the format: A100, L40S and H100, MI300."""
