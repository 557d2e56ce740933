"""The planner's answer: the best plans in order, the one that is recommended, and what was considered."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from walltime.display import html_table
from walltime.hardware import Cluster
from walltime.plan import PlanBatch
from walltime.planner.option import Option
from walltime.planner.question import Question
from walltime.planner.site import Site
from walltime.problems import NegativeAnswer
from walltime.search.constraints import Constraints, values_of
from walltime.search.keep import complexity
from walltime.search.plan_search import Counts, PlanSearch
from walltime.units import format_si, format_time


@dataclass(frozen=True, repr=False)
class Answer:
    """Which plan is best.

    Attributes
    ----------
    question
        What was asked.
    sites
        Each cluster that was searched.
    options
        The best plans, the best first: the best of each layout, and the simplest as good as the best.
    tie
        Plans within this share of the best are as good: the median error of predicted step times, or of memory, on the
        best one's cluster.
    """

    question: Question
    sites: tuple[Site, ...]
    options: tuple[Option, ...]
    tie: float

    def __len__(self) -> int:
        return len(self.options)

    def __bool__(self) -> bool:
        return bool(self.options)

    @property
    def best(self) -> Option:
        """The best plan by the goal.

        Raises
        ------
        NegativeAnswer
            There is no plan.
        """
        if not self.options:
            raise NegativeAnswer(f"no plan among {self.counts.considered:,}.")
        return self.options[0]

    @cached_property
    def ties(self) -> tuple[Option, ...]:
        """Plans on the best one's cluster that are as good within `tie`, the best first."""
        bar = self._compared(self.best) * (1 + self.tie)
        here = (one for one in self.options if one.cluster == self.best.cluster)
        return tuple(one for one in here if self._compared(one) <= bar)

    @cached_property
    def recommended(self) -> Option:
        """The simplest of the `ties`: the fewest kinds of parallelism, then the fewest unusual choices."""
        return min(self.ties, key=lambda one: (plan_complexity(one), self._compared(one), one.needed_bytes))

    def _compared(self, one: Option) -> float:
        """Return by what plans on one cluster are compared."""
        value, time_s = one.value(self.question.goal)
        return time_s if self.question.goal == "gpus" else value

    @property
    def shown(self) -> tuple[Option, ...]:
        """As many options on the best one's cluster as were wanted, the recommended one among them."""
        here = [one for one in self.options if one.cluster == self.best.cluster]
        first = here[: self.question.top]
        return tuple(first if self.recommended in first else [*first[:-1], self.recommended])

    @property
    def of_sites(self) -> tuple[Option | None, ...]:
        """The best option of each site, None where there is none."""
        return tuple(next((one for one in self.options if one.cluster == site.cluster), None) for site in self.sites)

    @property
    def site(self) -> Site:
        """The site of the recommended plan."""
        return self.site_of(self.recommended)

    def site_of(self, one: Option) -> Site:
        """Return the site that an option is on."""
        return next(site for site in self.sites if site.cluster == one.cluster)

    @cached_property
    def counts(self) -> Counts:
        """What became of the plans of all sites."""
        total = Counts()
        for site in self.sites:
            counts = site.search.counts
            total.considered += counts.considered
            total.rejected += counts.rejected
            total.not_fitting += counts.not_fitting
            total.evaluated += counts.evaluated
        return total

    def narrow(self, constraints: Constraints | None = None, **values: Any) -> "Answer":
        """Return the answer among fewer plans; what the search knows of its rows is not computed again.

        Parameters
        ----------
        constraints
            As for the question.
        values
            Fields of a plan: ``tp=8``, ``sharding="zero3"``, or several values that are allowed: ``pp=(8, 16)``.
        """
        from walltime.planner.recommend import recommend

        given = {name: values_of(name, value) for name, value in values.items()}
        added = Constraints(given) if constraints is None else constraints.and_(Constraints(given))
        asked = self.question.with_constraints(self.question.constraints.and_(added))

        def known(cluster: Cluster) -> PlanSearch | None:
            return next((site.search.narrowed(added) for site in self.sites if site.cluster == cluster), None)

        return recommend(asked, known=known)

    def to_rows(self) -> list[dict[str, Any]]:
        """One flat dictionary an option, units in the keys."""
        rows = []
        for rank, one in enumerate(self.options, 1):
            row: dict[str, Any] = {
                "rank": rank,
                "recommended": one is self.recommended,
                "tie": one in self.ties,
                "cluster": one.cluster.id,
                "cost_usd_per_token": one.cost_usd_per_token,
                "energy_j_per_token": one.energy_j_per_token,
            }
            rows.append(row | one.estimate.to_rows()[0])
        return rows

    def __repr__(self) -> str:
        if not self.options:
            return f"Answer(no plan among {self.counts.considered:,})"
        lines = [
            f"{'>' if one is self.recommended else ' '} {format_time(one.time_s):>9}  MFU {one.utilization:6.1%}  "
            f"{one.plan.num_gpus} x {one.cluster.id}: {one.plan}"
            for one in self.shown
        ]
        return "\n".join([f"Answer: {self.counts.considered:,} plans considered, the best of each layout", *lines])

    def _repr_html_(self) -> str:
        rows: list[dict[str, object]] = [
            {
                "": "recommended" if one is self.recommended else "tie" if one in self.ties else "",
                "cluster": f"{one.plan.num_gpus} x {one.cluster.id}",
                "plan": str(one.plan),
                "step": format_time(one.time_s),
                "MFU": f"{one.utilization:.1%}",
                "memory": format_si(one.needed_bytes, "B", 3),
                **{name: f"{part_s / one.time_s:.1%}" for name, part_s in one.parts_s.items()},
            }
            for one in (self.shown if self.options else ())
        ]
        return html_table(f"Plans for {self.question.training.model.name}", rows)


def plan_complexity(one: Option) -> int:
    """Return how complicated an option's plan is (`walltime.search.keep.complexity`)."""
    return int(complexity(PlanBatch.of([one.plan]))[0])


def rejections(counts: Counts) -> Counter[str]:
    """Return the rejected plans by rule, rules that rejected none left out."""
    return Counter({name: count for name, count in counts.rejected.items() if count})
