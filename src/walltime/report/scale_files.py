"""Scaling as files: every metric as CSV, and charts against the number of GPUs."""

from pathlib import Path

from walltime.planner.scaling import Curve, Scaling
from walltime.report.charts import FORMATS, chart_bytes
from walltime.report.files import atomic_bytes, atomic_text, csv_text, staged
from walltime.studies.figure import Figure, Mark, Panel, Series

_CHARTS = {
    "tokens_per_s_per_gpu": ("Throughput of a GPU", "tokens/s per GPU"),
    "mfu": ("Model FLOP/s utilisation", "MFU"),
    "tokens_per_j": ("Tokens of a joule", "tokens per joule of the boards"),
    "added_returns": ("What an added GPU returns", "share of what the best size returns"),
}
"""Title and axis of each chart; all but the last are metrics of an account."""
_SHARES = ("mfu", "added_returns")
_LOWEST = -0.25
"""Losses below this leave the chart: a size that divides badly hides all others."""
_MOST_TICKS = 8
_ROOM = 1.1  # above the highest point


def figures(found: Scaling) -> list[Figure]:
    """Return a chart of each metric that is known at some size."""
    made = [_figure(found, name) for name in _CHARTS]
    return [figure for figure in made if any(series.x for series in figure.panels[0].series)]


def _figure(found: Scaling, name: str) -> Figure:
    title, label = _CHARTS[name]
    series = tuple(_series(curve, name) for curve in found.curves)
    model = found.asked.question.training.model.name
    top = max((value for one in series for value in one.y), default=1.0)
    bottom = max(min((value for one in series for value in one.y), default=0.0) * _ROOM, _LOWEST)
    return Figure(
        name=name,
        title=f"{title}: {model}",
        caption=f"{title} against the number of GPUs, {found.asked.mode} scaling of {model}, the fastest plan at each.",
        x_label="GPUs",
        y_label=label,
        panels=(Panel("", tuple(one for one in series if one.x), _marks(found, name)),),
        rows=tuple(found.to_rows()),
        y_percent=name in _SHARES,
        y_limits=(min(0.0, bottom), top * _ROOM),
        x_ticks=_ticks(found),
    )


def _series(curve: Curve, name: str) -> Series:
    """Return a metric of the possible sizes; a return stands between the two that it is about."""
    pairs = []
    for point in curve.possible:
        value, at = point.metrics.get(name), float(point.num_gpus)
        if name == "added_returns" and (marginal := curve.marginal_to(point)):
            value, at = curve.return_to(point), marginal.num_gpus
        if value is not None:
            pairs.append((at, value))
    return Series(curve.cluster.id, tuple(x for x, _ in pairs), tuple(y for _, y in pairs))


def _marks(found: Scaling, name: str) -> tuple[Mark, ...]:
    if name != "added_returns" or len(found.curves) > 1 or found.curves[0].halving_gpus is None:
        return ()
    return (Mark(found.curves[0].halving_gpus, "from here on less than half"),)


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
                atomic_bytes(staging / f"{figure.name}.{kind}", chart_bytes(figure, kind, found.asked.mode))
        names = sorted(path.name for path in staging.iterdir())
    return [out / name for name in names]
