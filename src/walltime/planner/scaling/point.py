"""One size: its fastest plan, and what that gives and takes."""

from dataclasses import dataclass
from functools import cache, cached_property

from walltime.catalog.calibrations import kin_of
from walltime.economics.account import reliability_range_of
from walltime.hardware import Cluster
from walltime.plan import Precision
from walltime.planner.answer import Answer
from walltime.planner.option import Option
from walltime.planner.recommend import recommend
from walltime.planner.relax import least_memory
from walltime.planner.scaling.question import ScaleQuestion
from walltime.planner.scaling.returns import Totals
from walltime.problems import BadInput
from walltime.units import format_si
from walltime.validate.ceilings import measured_ceiling


@dataclass(frozen=True)
class ScalePoint:
    """The training on so many accelerators.

    Attributes
    ----------
    cluster
        With its number of accelerators.
    batch_seqs
        Sequences of a step; None if they are not a whole number.
    answer
        Of the planner; None if nothing was asked, for want of a whole batch.
    why_not
        Why there is none; empty otherwise.
    """

    cluster: Cluster
    batch_seqs: int | None
    answer: Answer | None
    why_not: str = ""

    @property
    def num_gpus(self) -> int:
        """Accelerators."""
        return self.cluster.num_gpus or 0

    @property
    def is_possible(self) -> bool:
        """Whether there is a plan."""
        return self.option is not None

    @property
    def option(self) -> Option | None:
        """The fastest plan, None if there is none."""
        return self.answer.best if self.answer else None

    @property
    def totals(self) -> Totals:
        """What the whole cluster gives and takes; of a point that is possible."""
        columns = self.metrics
        return Totals(
            num_gpus=self.num_gpus,
            tokens_per_s=columns["tokens_per_s"] or 0.0,
            goodput_tokens_per_s=columns["goodput_tokens_per_s"],
            power_w=columns["total_board_power_w"],
            usd_per_hour=columns["usd_per_hour"],
        )

    @cached_property
    def metrics(self) -> dict[str, float | None]:
        """Every metric of the fastest plan's account by name; empty if there is no plan."""
        return {} if self.option is None else self.option.account.to_rows()[0]

    @cached_property
    def goodput_range(self) -> tuple[float, float] | None:
        """Goodput with all that is estimated of failures at its worse and at its better end. [tokens/s]

        None where there is no plan, where failures are not known, or where what the terms set of them does not go with
        an end.
        """
        if self.option is None or self.answer is None or self.option.account.reliability is None:
            return None
        estimate = self.option.estimate
        try:
            ends = reliability_range_of(estimate.training, self.cluster, estimate.stack, self.answer.question.terms)
        except BadInput:
            return None
        worse, better = (float(end.effective_share(self.num_gpus)) * self.option.tokens_per_s for end in ends)
        return worse, better

    @property
    def measured_ceiling_utilization(self) -> float | None:
        """The highest utilisation ever measured on this accelerator in the plan's precision, None if none was."""
        if self.option is None:
            return None
        return _ceiling(kin_of(self.cluster.accelerator.id), self.option.plan.precision, self.option.estimate.stack.id)

    @property
    def exceeds_measured(self) -> bool:
        """Whether utilisation is more than was ever measured."""
        most = self.measured_ceiling_utilization
        return self.option is not None and most is not None and self.option.utilization > most


@cache
def _ceiling(accelerator: str, precision: Precision, stack: str) -> float | None:
    found = measured_ceiling(accelerator, precision, stack)
    return None if found is None else found.utilization


def scale_point(asked: ScaleQuestion, cluster: Cluster) -> ScalePoint:
    """Return a size with its fastest plan, or with why there is none."""
    question = asked.at(cluster)
    if question is None:
        num_gpus = cluster.num_gpus or 1
        seqs = float((asked.batch_per_gpu or 1) * num_gpus)
        why = f"{asked.batch_per_gpu} sequences on each of {num_gpus:,} GPUs are {seqs:,g}, not a whole batch"
        return ScalePoint(cluster, None, None, why)
    answer = recommend(question)
    return ScalePoint(cluster, question.training.batch_seqs, answer, "" if answer else why_no_plan(answer))


def why_no_plan(answer: Answer) -> str:
    """Return in a few words why there is no plan: too little memory, or none divides."""
    search = answer.sites[0].search
    least = least_memory(search)
    if least is not None:
        there = max(search.capacity_bytes, 0.0)
        return (
            f"does not fit: needs {format_si(least.values[0], 'B', 3)} on a GPU, {format_si(there, 'B', 3)} are there"
        )
    question = answer.question
    asked = [question.constraints.said(name) for name in question.constraints.names()]
    with_ = " and ".join([question.stack.id, *asked])
    return f"no plan splits {question.training.batch_seqs:,} sequences over {search.num_gpus:,} GPUs with {with_}"
