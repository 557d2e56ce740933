"""The rows of a validation as tables of its page: what a point leads to, and what its waterfall is drawn from."""

from collections.abc import Iterator
from html import escape
from typing import Any

from walltime.engines.step import PARTS
from walltime.report.validation import percent
from walltime.validate.validation import Validation

PART_NAMES = {
    "matmul": "matmuls",
    "attention": "attention",
    "memory_bound": "memory-bound kernels",
    "host": "waiting for the host",
    "tp_comm": "tensor-parallel traffic",
    "cp_comm": "context-parallel traffic",
    "ep_comm": "expert-parallel traffic",
    "pp_comm": "sends between stages",
    "dp_comm": "data-parallel traffic",
    "bubble": "pipeline bubble",
    "optimizer": "optimizer",
    "overhead": "fixed overhead",
}
_GIB = 2.0**30
_WORDS = ("file and line", "model", "accelerators", "plan", "software", "scope")
_TIMES = {"measured [s]": "measured", "predicted [s]": "predicted", "constant utilisation [s]": "constant"}
_NUMBERS = (*_TIMES, "error", "lower [s]", "upper [s]", "memory measured [GiB]", "memory predicted [GiB]")


def row_tables(found: Validation) -> Iterator[str]:
    """Yield one table a source, each folded up under its name."""
    for source in found.sources:
        index = [i for i, case in enumerate(found.cases) if case.source_id == source]
        if not index:
            continue
        lines = "\n".join(_row(found, i) for i in index)
        name = escape(source)
        yield (
            f'<details data-source="{name}"><summary>{name}, {len(index)} rows</summary>'
            f'<div class="scroll" tabindex="0" role="region" aria-label="Rows of {name}"><table class="rows">'
            f"<caption><span>{name}: parts of the predicted step in seconds</span></caption>"
            f"<thead><tr>{_head()}</tr></thead><tbody>\n{lines}\n</tbody></table></div></details>"
        )


def _head() -> str:
    words = "".join(f'<th scope="col">{name}</th>' for name in _WORDS)
    numbers = "".join(f'<th scope="col" class="n"{_key(name)}>{name}</th>' for name in _NUMBERS)
    parts = "".join(f'<th scope="col" class="n" data-part="{part_name(p)}">{part_name(p)}</th>' for p in PARTS)
    return f'{words}{numbers}<th scope="col">ran; predicted</th>{parts}<th scope="col">assumed</th>'


def part_name(part: str) -> str:
    """Return a part of a step in words."""
    return PART_NAMES.get(part, part.replace("_", " "))


def _key(name: str) -> str:
    return f' data-key="{_TIMES[name]}"' if name in _TIMES else ""


def _row(found: Validation, i: int) -> str:
    case, memory = found.cases[i], found.predictions.memory_bytes
    measured_s, error = case.step_time_s, None if case.step_time_s is None else float(found.relative_errors[i])
    batch = f"batch {case.training.batch_seqs} × {case.training.seq_len}"
    words = (
        case.row.model_name,
        f"{case.num_gpus} × {case.machine.accelerator}",
        f"{case.plan}; {batch}",
        case.stack,
        case.row.scope,
    )
    memory_gib = [case.memory_bytes, None if memory is None else memory[i]]
    predicted_s, constant_s = found.predictions.step_time_s[i], found.baseline.predictions.step_time_s[i]
    numbers = [
        *(_number(value) for value in (measured_s, predicted_s, constant_s)),
        percent(error, signed=True) if error is not None else "",
        *(_number(value) for value in (found.lower_s[i], found.upper_s[i])),
        *(_number(None if value is None else value / _GIB) for value in memory_gib),
    ]
    fits = found.predictions.fits
    told = "" if fits is None else f"; {'fits' if fits[i] else 'does not fit'}"
    parts = "".join(f'<td class="n">{_number(part[i])}</td>' for part in found.parts_s.values())
    assumed = escape("; ".join(case.assumptions))
    return (
        f'<tr id="row{i}"><th scope="row">{escape(case.row.place.rpartition("/")[2])}</th>'
        + "".join(f"<td>{escape(word)}</td>" for word in words)
        + "".join(f'<td class="n">{number}</td>' for number in numbers)
        + f'<td>{"ran" if case.ran else "out of memory"}{told}</td>{parts}<td class="words">{assumed}</td></tr>'
    )


def _number(value: Any) -> str:
    if value is None or value != value:
        return ""
    return "0" if value == 0 else f"{float(value):.4g}"
