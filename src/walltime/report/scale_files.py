"""Scaling as files: every metric as CSV, and charts against the number of GPUs."""

from pathlib import Path

from walltime.durable import atomic_bytes, atomic_text
from walltime.planner.scaling import HALF, Curve, Scaling
from walltime.report.charts import FORMATS, chart_bytes
from walltime.report.files import csv_text, staged
from walltime.studies.figure import Figure, Mark, Panel, Series
from walltime.units import format_count

_BILLION = 1e9
_PANELS = {
    "tokens_per_s_per_gpu": ("tokens/s per GPU", 1.0),
    "mfu": ("MFU", 1.0),
    "exposed_share_of_step": ("exposed communication, of the step", 1.0),
    "board_power_w": ("W per GPU, of the board", 1.0),
    "cost_usd_per_token": ("$ per billion tokens", _BILLION),
    "effective_share": ("left after failures and checkpoints", 1.0),
}
"""Metrics of an account that are drawn; the title of each, with its unit, and how many of it make that unit."""
_SHARES = ("mfu", "exposed_share_of_step", "effective_share")
_LOWEST, _HIGHEST = -0.25, 1.5
"""Returns beyond these leave the chart: a size that divides badly hides all others."""
_MOST_TICKS = 8
_LONGEST_NAME = 26
_ROOM = 1.1  # above the highest point


def figures(found: Scaling) -> list[Figure]:
    """Return a chart of what is known of every size, and of what added GPUs return if there are several sizes."""
    made = [_metrics(found)]
    if any(curve.marginals for curve in found.curves):
        made.append(_returns(found))
    return made


def _metrics(found: Scaling) -> Figure:
    panels = []
    for name, (title, unit) in _PANELS.items():
        series = tuple(one for curve in found.curves if (one := _series(curve, name, unit)).x)
        panels += [Panel(title, series, y_percent=name in _SHARES)] if series else []
    return Figure(
        name="scaling",
        title=f"Scaling: {_name(found)}",
        caption=f"The fastest plan at each number of GPUs: {', '.join(panel.title for panel in panels)}.",
        x_label="GPUs",
        y_label="",
        panels=tuple(panels),
        rows=tuple(found.to_rows()),
        x_ticks=_ticks(found),
    )


def _series(curve: Curve, name: str, unit: float) -> Series:
    """Return a metric of the possible sizes, as far as it is known."""
    pairs = [(float(point.num_gpus), value) for point in curve.possible if (value := point.metrics[name]) is not None]
    return Series(curve.cluster.id, tuple(x for x, _ in pairs), tuple(unit * y for _, y in pairs))


def _returns(found: Scaling) -> Figure:
    """Return the chart of returns: along the hull as a line, from each size to the next as points."""
    lines, points = zip(*map(_returned, found.curves), strict=True)
    series = [one for one in (*lines, *points) if one.x]
    values = [value for one in series for value in one.y]
    sizes = [float(point.num_gpus) for curve in found.curves for point in curve.possible]
    half = Series("half of what it costs", (min(sizes), max(sizes)), (HALF, HALF), points=False)
    low, high = max(_LOWEST, _ROOM * min([0.0, *values])), min(_HIGHEST, _ROOM * max([1.0, *values]))
    return Figure(
        name="added_returns",
        title=f"Returns: {_name(found)}",
        caption="What added GPUs return over what they cost, as much at the best size being 100 %: points from each "
        "size to the next; the line leaves out sizes that fewer GPUs, or a mix of others, beat.",
        x_label="GPUs",
        y_label="share of what the best size returns",
        panels=(Panel("", (*series, half), _marks(found)),),
        rows=tuple(found.to_rows()),
        y_percent=True,
        y_limits=(low, high),
        x_ticks=_ticks(found),
        legend=True,
    )


def _returned(curve: Curve) -> tuple[Series, Series]:
    """Return what added GPUs return along the hull, and between neighbouring sizes."""
    chip = curve.cluster.id
    raw = [
        (one.num_gpus, share)
        for one in curve.marginals
        if (share := one.share(goodput=curve.counts_failures)) is not None
    ]
    along = curve.hull_shares
    if along and curve.possible[0].num_gpus < along[0][0]:
        along = ((float(curve.possible[0].num_gpus), 1.0), *along)
    return (
        Series(chip, tuple(x for x, _ in along), tuple(y for _, y in along), points=False),
        Series(f"{chip}, size to size", tuple(x for x, _ in raw), tuple(y for _, y in raw), line=False, like=chip),
    )


def _marks(found: Scaling) -> tuple[Mark, ...]:
    """Return where the return has halved, on each cluster."""
    several = len(found.curves) > 1
    return tuple(
        Mark(at, f"{curve.cluster.id}: less than half" if several else "from here on less than half")
        for curve in found.curves
        if curve.possible and (at := curve.halving_gpus) is not None
    )


def _name(found: Scaling) -> str:
    """Return the model's name, as far as there is room for it beside `_note`."""
    name = found.asked.question.training.model.name
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."


def _note(found: Scaling) -> str:
    """Return with which batch is trained, and by which software."""
    asked, training = found.asked, found.asked.question.training
    per_gpu = asked.batch_per_gpu
    batch = format_count(training.batch_seqs) if per_gpu is None else str(per_gpu)
    tokens = f"{batch} x {format_count(training.seq_len)} tokens{'' if per_gpu is None else ' a GPU'}"
    return f"{asked.mode}: {tokens}, {asked.question.stack.id}"


def _ticks(found: Scaling) -> tuple[tuple[float, str], ...]:
    """Label powers of two, evenly picked; the sizes themselves where there are none between them."""
    sizes = sorted({point.num_gpus for point in found.points})
    first, last = sizes[0], sizes[-1]
    powers = [2**power for power in range(last.bit_length()) if first <= 2**power <= last] or sizes
    step = max(1, -(-len(powers) // _MOST_TICKS))
    return tuple((float(size), f"{size:,}") for size in powers[::step])


def write_scale(out: Path, found: Scaling) -> list[Path]:
    """Write ``scale.csv`` and each chart as PNG and SVG; all of them or, on an exception, none.

    Raises
    ------
    BadInput
        A folder that cannot be written to.
    MissingExtra
        Matplotlib is not installed.
    """
    with staged(out) as staging:
        atomic_text(staging / "scale.csv", csv_text(found.to_rows()))
        for figure in figures(found):
            for kind in FORMATS:
                atomic_bytes(staging / f"{figure.name}.{kind}", chart_bytes(figure, kind, _note(found)))
        names = sorted(path.name for path in staging.iterdir())
    return [out / name for name in names]
