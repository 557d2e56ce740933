"""Points as panels of a chart, and numbers as words."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

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
    hollow: Collection[float] = (),
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
    hollow
        Places of points that are outlines only, where points are not joined.
    """
    series = []
    for name, curve in curves.items():
        at = x[name] if x else [point.setting.num_gpus for point in curve]
        seen = [(one, point[metric]) for one, point in zip(at, curve, strict=True) if _known(point, metric)]
        for outlined in (False, True):
            of_kind = [pair for pair in seen if (pair[0] in hollow) == outlined]
            if of_kind:
                xs, ys = zip(*of_kind, strict=True)
                series.append(Series(name, xs, ys, line=line, hollow=outlined))
    return Panel(label, tuple(series), y_percent=percent)


def _known(point: Point, metric: str) -> bool:
    return point.runs and point.metrics[metric] is not None


def with_published(drawn: Panel, name: str, at: Mapping[float, float]) -> Panel:
    """Return a panel with numbers of the paper as points, by their places on the x axis."""
    return replace(drawn, series=(*drawn.series, Series(name, tuple(at), tuple(at.values()), line=False)))


def plan_name(point: Point) -> str:
    """Return a plan in words: ``tp 2 × FSDP 1,024``, ``cp 8 × pp 4 in 8 × zero1 8``."""
    plan = point.plan
    interleaved = f" in {plan.vpp}" if plan.vpp > 1 else ""
    degrees = [f"{name} {getattr(plan, name)}" for name in ("tp", "cp", "pp") if getattr(plan, name) > 1]
    model_parallel = " × ".join(degrees) + interleaved
    if plan.sharding == "zero3" and not model_parallel and not plan.shard:
        return "FSDP alone"
    data = f"{'FSDP' if plan.sharding == 'zero3' else plan.sharding} {plan.dp:,}"
    groups = f" in groups of {plan.shard:,}" if 0 < plan.shard < plan.dp else ""
    return (f"{model_parallel} × " if model_parallel else "") + data + groups


def gpu_ticks(numbers: Iterable[int], most: int = 5) -> tuple[tuple[float, str], ...]:
    """Return ticks at some of the numbers, evenly picked, the first and the last among them as far as that goes."""
    found = sorted(set(numbers))
    step = max(1, -(-(len(found) - 1) // (most - 1)))
    return tuple((number, f"{number:,}") for number in found[::step])


def percent(share: float, *, signed: bool = False) -> str:
    """Show a share in percent: ``32.9 %``, signed ``−32.9 %``."""
    text = f"{100 * share:+.1f} %" if signed else f"{100 * share:.1f} %"
    return text.replace("-0.0", "±0.0").replace("-", "−").replace("+0.0", "±0.0")
