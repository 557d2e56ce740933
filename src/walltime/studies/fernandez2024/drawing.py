"""Points as panels of a chart, and numbers as words."""

from collections.abc import Iterable, Mapping, Sequence

from walltime.studies.fernandez2024.points import Point
from walltime.studies.figure import Panel, Series

GPUS_LABEL = "GPUs"


def panel(
    label: str,
    curves: Mapping[str, Sequence[Point]],
    metric: str,
    *,
    percent: bool = False,
    x: Mapping[str, Sequence[float]] | None = None,
    line: bool = True,
) -> Panel:
    """Return curves of one metric; points that do not run are left out.

    Parameters
    ----------
    label
        Of the y axis, as the panel's title.
    curves
        By name.
    metric
        Column of the rows.
    percent
        Whether it is shown in percent.
    x
        Where each point of a curve lies; by default at its number of accelerators.
    line
        Whether points are joined.
    """
    series = []
    for name, curve in curves.items():
        at = x[name] if x else [point.setting.num_gpus for point in curve]
        seen = [(one, point[metric]) for one, point in zip(at, curve, strict=True) if _known(point, metric)]
        if seen:
            xs, ys = zip(*seen, strict=True)
            series.append(Series(name, xs, ys, line=line))
    return Panel(label, tuple(series), y_percent=percent)


def _known(point: Point, metric: str) -> bool:
    return point.runs and point.metrics[metric] is not None


def gpu_ticks(numbers: Iterable[int], most: int = 5) -> tuple[tuple[float, str], ...]:
    """Return ticks at some of the numbers, evenly picked, the first and the last among them as far as that goes."""
    found = sorted(set(numbers))
    step = max(1, -(-(len(found) - 1) // (most - 1)))
    return tuple((number, f"{number:,}") for number in found[::step])


def percent(share: float, *, signed: bool = False) -> str:
    """Show a share in percent: ``32.9 %``, signed ``−32.9 %``."""
    text = f"{100 * share:+.1f} %" if signed else f"{100 * share:.1f} %"
    return text.replace("-0.0", "±0.0").replace("-", "−").replace("+0.0", "±0.0")
