"""A measured training run as text."""

from collections.abc import Iterator

import numpy as np

from walltime.catalog import DATASHEET, AcceleratorRecord, parameter_set
from walltime.measure.records import StepParts, TrainResult
from walltime.report.terminal import bar, table
from walltime.units import format_count, format_si, format_time
from walltime.validate.chips import accelerator_of
from walltime.validate.measured import MeasuredRow
from walltime.workload.flop import model_flop_per_token
from walltime.workload.parameters import num_parameters

_NOT_MEASURED = "not measured"
_MEMORY = {
    "weights": "weights",
    "gradients": "gradients",
    "optimizer": "optimizer state",
    "allocated": "most allocated",
    "reserved": "most reserved",
    "resident": "most resident (whole process)",
}


def training_text(result: TrainResult) -> str:
    """Return what `walltime measure train` prints."""
    blocks = [_title(result)]
    if result.status == "oom":
        blocks.append(f"out of memory: {result.message}")
    else:
        blocks += [_times(result), _parts(result.parts), _memory(result)]
    return "\n\n".join(blocks)


def _title(result: TrainResult) -> str:
    request = result.request
    training, plan, layers = request.training, request.plan, request.training.model.num_layers
    size = format_si(float(num_parameters(training.model)), "", 3).strip()
    plural = "s" if training.batch_seqs > 1 else ""
    batch = f"{format_count(training.batch_seqs)} sequence{plural} of {format_count(training.seq_len)} tokens"
    compiled = ", compiled" if request.compiled else ""
    return (
        f"{request.model_id or training.model.name}, {layers} layer{'s' if layers > 1 else ''}, {size} parameters, on "
        f"{plan.num_gpus} x {result.device}\n{plan}{compiled}; {batch} a step; {result.framework}"
    )


def _times(result: TrainResult) -> str:
    times_s = np.array(result.step_times_s)
    median_s, tokens = float(np.median(times_s)), result.request.training.batch_tokens
    spread = f", std {format_time(float(times_s.std(ddof=1)))}" if len(times_s) > 1 else ""
    quantiles = ", ".join(f"p{share} {format_time(float(np.percentile(times_s, share)))}" for share in (10, 90))
    rows = [
        ["step time", f"{format_time(median_s)} median of {len(times_s)}, mean {format_time(times_s.mean())}{spread}"],
        ["", quantiles],
        ["tokens/s", f"{tokens / median_s:,.0f}, {tokens / median_s / result.request.plan.num_gpus:,.0f} each"],
        ["model FLOP/s", _utilization(result, median_s)],
        ["power", _power(result)],
        ["loss", f"{result.losses[0]:.4f} first, {result.losses[-1]:.4f} last"],
    ]
    return "\n".join(f"{name:14}{said}" for name, said in rows)


def _utilization(result: TrainResult, step_time_s: float) -> str:
    """Say the model FLOP/s of one accelerator, attention counted causally, and their share of its peak."""
    training, plan = result.request.training, result.request.plan
    flop = float(model_flop_per_token(training.model, training.seq_len, "causal-attention")) * training.batch_tokens
    rate = flop / plan.num_gpus / step_time_s
    peak = _peak_flop_per_s(result.device, plan.precision)
    share = f", MFU {rate / peak:.1%} of {format_si(peak, 'FLOP/s')}" if peak else ", its peak is not known"
    return f"{format_si(rate, 'FLOP/s', 3)} each (causal attention){share}"


def _peak_flop_per_s(device: str, precision: str) -> float | None:
    accelerator = accelerator_of(MeasuredRow(gpu=device))
    record = parameter_set(DATASHEET).find(AcceleratorRecord, accelerator) if accelerator else None
    if record is None or precision not in record.peak_flop_per_s:
        return None
    return float(record.peak_flop_per_s[precision].value)


def _power(result: TrainResult) -> str:
    power = result.power
    if power is None:
        return _NOT_MEASURED
    steps = len(result.step_times_s)
    energy = f", {format_si(power.energy_j / steps, 'J', 3)} a step" if power.energy_j is not None else ""
    return f"{power.mean_w:.0f} W each{energy}"


def _parts(parts: StepParts | None) -> str:
    if parts is None:
        return f"where the time goes: {_NOT_MEASURED} (--profile-steps 0)"
    rows = [_row(name, length_s, parts.step_s) for name, length_s in _lengths(parts)]
    steps = f"{parts.num_steps} profiled step{'s' if parts.num_steps > 1 else ''}"
    title = f"where the time goes, mean of {steps} of {format_time(parts.step_s)} and of ranks"
    return f"{title}\n{table(['part', 'time', 'share', ''], rows)}"


def _lengths(parts: StepParts) -> Iterator[tuple[str, float]]:
    yield "computation", parts.compute_s
    yield "exposed communication", parts.exposed_communication_s
    for kind, length_s in parts.exposed_by_kind_s.items():
        yield f"  {kind}", length_s
    yield "idle", parts.idle_s
    yield "(all communication)", parts.communication_s


def _row(name: str, length_s: float, step_s: float) -> list[str]:
    share = length_s / step_s if step_s else 0.0
    return [name, format_time(length_s) if length_s else "0 s", f"{share:.1%}", bar(share)]


def _memory(result: TrainResult) -> str:
    rows = [
        [_MEMORY[kind], format_si(result.memory_bytes[kind], "B", 3)] for kind in _MEMORY if kind in result.memory_bytes
    ]
    return table(["memory of the fullest rank", ""], rows)
