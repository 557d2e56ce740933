"""All sizes of one kind of cluster, what an added accelerator returns there, and what would help most."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from walltime.display import html_table
from walltime.hardware import Cluster
from walltime.planner.reasons import Elasticity, elasticities
from walltime.planner.recommend import distinct
from walltime.planner.relax import no_plan_text
from walltime.planner.scaling.hull import halving, hull, hull_shares, shortfall
from walltime.planner.scaling.point import ScalePoint, scale_point
from walltime.planner.scaling.question import ScaleQuestion
from walltime.planner.scaling.returns import Marginal, Totals, best_size, cost_of, marginals
from walltime.problems import NegativeAnswer
from walltime.units import format_time


@dataclass(frozen=True)
class Curve:
    """The sizes of one kind of cluster, ascending.

    Attributes
    ----------
    cluster
        What kind; with the largest of the sizes.
    points
        Possible or not.
    """

    cluster: Cluster
    points: tuple[ScalePoint, ...]

    @property
    def possible(self) -> tuple[ScalePoint, ...]:
        """Sizes with a plan."""
        return tuple(point for point in self.points if point.is_possible)

    @cached_property
    def totals(self) -> tuple[Totals, ...]:
        """What each possible size gives and takes."""
        return tuple(point.totals for point in self.possible)

    @cached_property
    def marginals(self) -> tuple[Marginal, ...]:
        """What is added from each possible size to the next."""
        return tuple(marginals(self.totals))

    def marginal_to(self, point: ScalePoint) -> Marginal | None:
        """Return what is added from the possible size before to this one; None for the first."""
        return next((one for one in self.marginals if one.after.num_gpus == point.num_gpus), None)

    def return_to(self, point: ScalePoint) -> float | None:
        """Return the share that the accelerators added up to this size return: in goodput where that is known."""
        one = self.marginal_to(point)
        return None if one is None else one.share(goodput=self.counts_failures)

    @property
    def counts_failures(self) -> bool:
        """Whether goodput is known."""
        return all(one.goodput_tokens_per_s is not None for one in self.totals)

    @property
    def counts_dollars(self) -> bool:
        """Whether what accelerators cost is known; returns are for each accelerator otherwise."""
        return cost_of(self.totals) == "usd_per_hour"

    @property
    def best(self) -> Totals | None:
        """The possible size that returns most for its cost: what returns are compared with."""
        return best_size(self.totals, goodput=self.counts_failures)

    # Along the hull: what is worth having

    @cached_property
    def hull(self) -> tuple[ScalePoint, ...]:
        """The sizes that no other one, and no mix of others, beats at the same cost."""
        worth = {one.num_gpus for one in hull(self.totals, goodput=self.counts_failures)}
        return tuple(point for point in self.possible if point.num_gpus in worth)

    @property
    def hull_shares(self) -> tuple[tuple[float, float], ...]:
        """What an added accelerator returns along the `hull`: numbers of accelerators and shares."""
        return hull_shares(self.totals, goodput=self.counts_failures)

    def shortfall(self, point: ScalePoint) -> float | None:
        """Return by which share a possible size gives less than the `hull` does for its cost."""
        return shortfall(point.totals, self.totals, goodput=self.counts_failures) if point.is_possible else None

    @cached_property
    def beaten(self) -> tuple[ScalePoint, ...]:
        """Sizes that give less than the `hull` by more than the error of step times."""
        tie = next((point.answer.tie for point in self.possible if point.answer), 0.0)
        return tuple(point for point in self.possible if (self.shortfall(point) or 0.0) > tie)

    @cached_property
    def halving_gpus(self) -> float | None:
        """From how many accelerators on an added one returns less than half of what it costs, None if never."""
        return halving(self.totals, goodput=self.counts_failures)

    @cached_property
    def halving_gpus_without_failures(self) -> float | None:
        """The same where failures and checkpoints do not count."""
        return halving(self.totals)

    @cached_property
    def halving_gpus_range(self) -> tuple[float | None, float | None] | None:
        """The same with all that is estimated of failures at its worse and at its better end; None if not known."""
        ranges = [point.goodput_range for point in self.possible]
        ends = []
        for end in (0, 1):
            sizes = [replace(one, goodput_tokens_per_s=r[end]) for one, r in zip(self.totals, ranges, strict=True) if r]
            if not sizes or len(sizes) < len(ranges):
                return None
            ends.append(halving(sizes, goodput=True))
        return ends[0], ends[1]

    @property
    def critical(self) -> ScalePoint:
        """The size of the `hull` nearest to where the return has halved; the largest one if that is nowhere."""
        at, sizes = self.halving_gpus, self.hull or self.possible
        if at is None:
            return sizes[-1]
        return min(sizes, key=lambda point: abs(math.log(point.num_gpus / at)))

    @cached_property
    def elasticities(self) -> tuple[Elasticity, ...]:
        """What a tenth more of each resource would give at the `critical` size, the most first."""
        if not self.possible or self.critical.answer is None:
            return ()
        return tuple(sorted(elasticities(self.critical.answer), key=lambda one: -one.gain))

    def to_rows(self) -> list[dict[str, Any]]:
        """One flat dictionary a size, units in the keys: all metrics, the plan, the marginal return."""
        return _filled([self._row(point) for point in self.points])

    def _row(self, point: ScalePoint) -> dict[str, Any]:
        marginal, option = self.marginal_to(point), point.option
        plan = {} if option is None else vars(option.plan) | {"order": ",".join(option.plan.order)}
        return {
            "cluster": self.cluster.id,
            "num_gpus": point.num_gpus,
            "batch_seqs": point.batch_seqs,
            "is_possible": point.is_possible,
            "why_not": point.why_not or None,
            **{name: value for name, value in point.metrics.items() if name != "num_gpus"},
            "measured_ceiling_utilization": point.measured_ceiling_utilization,
            "shortfall": self.shortfall(point),
            "num_gpus_before": None if marginal is None else marginal.before.num_gpus,
            **({} if marginal is None else marginal.to_row()),
            **{f"plan.{name}": value for name, value in plan.items()},
        }


@dataclass(frozen=True, repr=False)
class Scaling:
    """What each added accelerator returns, on one or several kinds of cluster.

    Attributes
    ----------
    asked
        The question.
    curves
        One for each kind of cluster.
    """

    asked: ScaleQuestion
    curves: tuple[Curve, ...]

    def __bool__(self) -> bool:
        return any(curve.possible for curve in self.curves)

    @property
    def points(self) -> tuple[ScalePoint, ...]:
        """All sizes of all clusters."""
        return tuple(point for curve in self.curves for point in curve.points)

    def to_rows(self) -> list[dict[str, Any]]:
        """One flat dictionary a size and cluster, the same keys in each, units in the keys."""
        return _filled([row for curve in self.curves for row in curve.to_rows()])

    def __repr__(self) -> str:
        lines = [f"Scaling({self.asked.question.training.model.name}, {self.asked.mode}):"]
        for point in self.points:
            option = point.option
            on = f"{point.num_gpus:>9,} x {point.cluster.id}"
            said = point.why_not if option is None else f"{_short(option.time_s, option.utilization)}  {option.plan}"
            lines.append(f"{on}  {said}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows: list[dict[str, Any]] = []
        for curve in self.curves:
            for point in curve.points:
                back, option = curve.return_to(point), point.option
                rows.append(
                    {
                        "cluster": f"{point.num_gpus:,} x {curve.cluster.id}",
                        "step": "" if option is None else format_time(option.time_s),
                        "tokens/s": "" if option is None else f"{option.tokens_per_s:,.0f}",
                        "MFU": ""
                        if option is None
                        else f"{option.utilization:.1%}" + (" !" if point.exceeds_measured else ""),
                        "added returns": "" if back is None else f"{back:.0%}",
                        "plan": point.why_not if option is None else str(option.plan),
                    }
                )
        return html_table(f"Scaling of {self.asked.question.training.model.name}, {self.asked.mode}", rows)


def _filled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with the same keys in each: those of the longest first, None where a row has nothing."""
    names = dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row)
    return [dict.fromkeys(names) | row for row in rows]


def _short(time_s: float, utilization: float) -> str:
    return f"{format_time(time_s):>9}  MFU {utilization:6.1%}"


def scale(asked: ScaleQuestion, progress: Callable[[int, int], None] | None = None) -> Scaling:
    """Search the fastest plan at every size.

    Parameters
    ----------
    asked
        What is asked.
    progress
        Called with sizes searched and sizes in all.
    """
    clusters = distinct(asked.question.clusters)
    kinds = distinct(cluster.with_num_gpus(1) for cluster in clusters)
    done, curves = 0, []
    for kind in kinds:
        sizes = sorted(one.num_gpus or 1 for one in clusters if replace(one, num_gpus=1) == kind)
        points = []
        for num_gpus in sizes:
            points.append(scale_point(asked, kind.with_num_gpus(num_gpus)))
            done += 1
            if progress:
                progress(done, len(clusters))
        curves.append(Curve(kind.with_num_gpus(sizes[-1]), tuple(points)))
    return Scaling(asked, tuple(curves))


def require_possible(found: Scaling) -> None:
    """Refuse a scaling without a plan at any size: say why there is none at the largest, and what would give one."""
    if found:
        return
    last = found.points[-1]
    why = f"{last.why_not}." if last.answer is None else no_plan_text(last.answer)
    raise NegativeAnswer(f"no size is possible. On {last.num_gpus:,} x {last.cluster.id}: {why}")
