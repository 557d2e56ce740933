"""A prediction beside a measurement: text and JSON."""

from typing import Any

from walltime.measure.checks import Comparison, Part
from walltime.report.terminal import table
from walltime.report.trace import parts_json
from walltime.report.transformer import PARTS
from walltime.units import format_count, format_si, format_time

_WHOLE = {
    "compute": "computation",
    "exposed_communication": "communication, exposed",
    "idle": "idle",
    "pipeline_and_idle": "pipeline and idle",
}
"""The parts that add up to a step."""
_NOTHING = "not measured"


def check_text(found: Comparison) -> str:
    """Return what `walltime measure check` prints."""
    estimate = found.account.estimate
    heading = "\n".join(
        [
            f"{estimate.training.model.name} on {format_count(float(estimate.plans.num_gpus[0]))} x "
            f"{estimate.cluster.name}, stack {estimate.stack.id}",
            f"plan: {estimate.plans.plan(0)}",
            f"measured: {found.measured.source}",
        ]
    )
    rows = [_time_row("step time", found.predicted_s, found.measured.step_time_s, found)]
    rows += [_part_row(part, found) for part in found.parts if _is_shown(part, found)]
    parts = table(["", "predicted", "measured", "difference", "of the step"], rows)
    if (profiled := found.measured.parts) is not None and profiled.step_s != found.measured.step_time_s:
        parts += f"\nmeasured parts are those of profiled steps: they add up to {format_time(profiled.step_s)}"
    whole = table(["", "predicted", "measured", "error"], _whole_rows(found))
    return "\n\n".join([heading, parts, whole, _verdict(found)])


def _is_shown(part: Part, found: Comparison) -> bool:
    """Whether a part is more than nothing, on either side."""
    least_s = found.predicted_s / 10_000
    return part.predicted_s >= least_s or (part.measured_s or 0) >= least_s


def part_name(part: Part) -> str:
    """Return what a part is called in words."""
    if not part.within:
        return _WHOLE[part.name]
    return PARTS[part.name][0].removesuffix(", exposed")


def _part_row(part: Part, found: Comparison) -> list[str]:
    indent = "    " if part.within else "  "
    return _time_row(indent + part_name(part), part.predicted_s, part.measured_s, found)


def _time_row(name: str, predicted_s: float, measured_s: float | None, found: Comparison) -> list[str]:
    if measured_s is None:
        return [name, format_time(predicted_s), "", "", ""]
    difference_s = predicted_s - measured_s
    shown = [format_time(predicted_s), format_time(measured_s), _signed(difference_s)]
    return [name, *shown, f"{difference_s / found.measured.step_time_s:+.1%}"]


def _signed(time_s: float) -> str:
    return f"{'-' if time_s < 0 else '+'}{format_time(abs(time_s))}"


def _whole_rows(found: Comparison) -> list[list[str]]:
    """Return rows of what is not a time: throughput, utilisation, memory, power."""
    estimate, measured = found.account.estimate, found.measured
    num_gpus = float(estimate.plans.num_gpus[0])
    tokens = float(estimate.tokens_per_s[0]) / num_gpus
    rows = [
        _number_row("tokens/s each", tokens, found.measured_tokens_per_s / num_gpus, lambda v: f"{v:,.4g}"),
        _number_row(
            f"MFU ({estimate.convention})", float(estimate.utilization[0]), found.measured_utilization, "{:.1%}".format
        ),
        _number_row(
            f"memory, {measured.memory_kind}",
            found.predicted_memory_bytes,
            measured.memory_bytes,
            lambda v: format_si(v, "B", 3),
        ),
        _number_row("power of a board", found.predicted_power_w, measured.power_w, lambda v: f"{v:,.0f} W"),
    ]
    if measured.printed_utilization is not None:
        rows.append(["MFU as its log prints it", "", f"{measured.printed_utilization:.1%}", ""])
    if measured.printed_flop_per_s_per_gpu is not None:
        printed = format_si(measured.printed_flop_per_s_per_gpu, "FLOP/s", 4)
        rows.append(["model FLOP/s as its log prints it", "", printed, ""])
    return rows


def _number_row(name: str, predicted: float | None, measured: float | None, shown: Any) -> list[str]:
    said = ["not known" if predicted is None else shown(predicted), _NOTHING if measured is None else shown(measured)]
    both = predicted is not None and measured
    return [name, *said, f"{(predicted or 0) / (measured or 1) - 1:+.1%}" if both else ""]


def _verdict(found: Comparison) -> str:
    """Return where the model is wrong, and by how much: the largest miss first."""
    step = f"the step is predicted {_wrong(found.error)}"
    worst = found.largest_miss
    if worst is None or worst.measured_s is None:
        return f"{step}. No parts were measured: a trace (--trace) tells where."
    share = (worst.predicted_s - worst.measured_s) / found.measured.step_time_s
    return (
        f"largest miss: {part_name(worst)}, predicted {format_time(worst.predicted_s)}, measured "
        f"{format_time(worst.measured_s)}, {abs(share):.1%} of the step too {'long' if share > 0 else 'short'}; {step}."
    )


def _wrong(error: float) -> str:
    if round(error, 3) == 0:
        return "as it was measured"
    return f"{abs(error):.1%} too {'long' if error > 0 else 'short'}"


def check_json(found: Comparison) -> dict[str, Any]:
    """Return what `walltime measure check --json` prints."""
    measured, worst = found.measured, found.largest_miss
    estimate = found.account.estimate
    return {
        "source": measured.source,
        "step_time_s": {"predicted": found.predicted_s, "measured": measured.step_time_s, "error": found.error},
        "parts": [
            {
                "name": part.name,
                "within": part.within or None,
                "predicted_s": part.predicted_s,
                "measured_s": part.measured_s,
                "difference_s": part.difference_s,
            }
            for part in found.parts
        ],
        "measured_parts": None if measured.parts is None else parts_json(measured.parts),
        "largest_miss": None if worst is None else worst.name,
        "utilization": {"predicted": float(estimate.utilization[0]), "measured": found.measured_utilization},
        "convention": estimate.convention,
        "tokens_per_s": {"predicted": float(estimate.tokens_per_s[0]), "measured": found.measured_tokens_per_s},
        "memory_bytes": {
            "kind": measured.memory_kind,
            "predicted": found.predicted_memory_bytes,
            "measured": measured.memory_bytes,
        },
        "power_w": {"predicted": found.predicted_power_w, "measured": measured.power_w},
        "printed": {
            "flop_per_s_per_gpu": measured.printed_flop_per_s_per_gpu,
            "utilization": measured.printed_utilization,
        },
    }
