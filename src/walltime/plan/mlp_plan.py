"""Plans as arrays: five degrees on every network level, microbatches and interleaving."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from walltime.arrays import Floats, Indices, Mask
from walltime.plan.schedule import SCHEDULES, Schedule
from walltime.problems import BadInput, unknown
from walltime.units import whole

DEGREES = ("dp", "tp_model", "tp_ff", "pp", "ep")
"""Data parallel; tensor parallel over d_model and over d_ff; pipeline; expert."""


@dataclass(frozen=True)
class MlpPlan:
    """One way to split a workload.

    Attributes
    ----------
    dp, tp_model, tp_ff, pp, ep : int or sequence of int, (levels,)
        Degrees; a sequence places them on network levels, innermost first.
    num_microbatches
        Microbatches that one pipeline works through in a step.
    interleave
        Model chunks a pipeline stage holds.
    schedule
        ``1f1b`` (interleaved when ``interleave`` > 1) or ``zero-bubble``.
    recompute
        Whether activations are computed again in the backward pass.
    """

    dp: int | Sequence[int] = 1
    tp_model: int | Sequence[int] = 1
    tp_ff: int | Sequence[int] = 1
    pp: int | Sequence[int] = 1
    ep: int | Sequence[int] = 1
    num_microbatches: int = 1
    interleave: int = 1
    schedule: Schedule = "1f1b"
    recompute: bool = False

    def __post_init__(self) -> None:
        """Refuse degrees that are not positive whole numbers."""
        if self.schedule not in SCHEDULES:
            raise unknown("schedule", self.schedule, SCHEDULES)
        for name in (*DEGREES, "num_microbatches", "interleave"):
            value = getattr(self, name)
            for number in value if isinstance(value, Sequence) and not isinstance(value, str) else [value]:
                whole(number, name)

    def degree(self, name: str) -> int:
        """Return one degree over all levels."""
        value = getattr(self, name)
        return int(np.prod([int(v) for v in value], dtype=object)) if isinstance(value, Sequence) else int(value)

    @property
    def num_gpus(self) -> int:
        """Accelerators that the plan occupies: the product of its degrees."""
        return int(np.prod([self.degree(name) for name in DEGREES], dtype=object))

    @property
    def is_placed(self) -> bool:
        """Whether every degree is given by level."""
        return all(isinstance(getattr(self, name), Sequence) for name in DEGREES)

    def __str__(self) -> str:
        degrees = " ".join(f"{name} {_show(getattr(self, name))}" for name in DEGREES)
        schedule = "interleaved 1f1b" if self.interleave > 1 else self.schedule
        chunks = f" x{self.interleave}" if self.interleave > 1 else ""
        return f"{degrees}, {self.num_microbatches} microbatches, {schedule}{chunks}"


def _show(value: int | Sequence[int]) -> str:
    return "x".join(str(v) for v in value) if isinstance(value, Sequence) else str(value)


@dataclass(frozen=True)
class MlpPlanBatch:
    """Many plans that share a schedule, as arrays.

    Attributes
    ----------
    dp, tp_model, tp_ff, pp, ep : (plans, levels)
        Degrees on each network level, innermost first. Whole numbers held as float64, because products of
        degrees pass 2**63 on the largest clusters; in memory a level is contiguous.
    num_microbatches, interleave : (plans,)
    schedule, recompute
        Shared by the batch.
    """

    dp: Floats
    tp_model: Floats
    tp_ff: Floats
    pp: Floats
    ep: Floats
    num_microbatches: Floats
    interleave: Floats
    schedule: Schedule = "1f1b"
    recompute: bool = False

    def __len__(self) -> int:
        return len(self.num_microbatches)

    @property
    def num_levels(self) -> int:
        """Network levels that the degrees are placed on."""
        return self.dp.shape[1]

    def total(self, name: str) -> Floats:
        """Return one degree over all levels, (plans,)."""
        degrees = getattr(self, name)
        product = degrees[:, 0]
        for level in range(1, self.num_levels):
            product = product * degrees[:, level]
        return product

    def totals(self) -> dict[str, Floats]:
        """Return every degree over all levels."""
        return {name: self.total(name) for name in DEGREES}

    @property
    def num_gpus(self) -> Floats:
        """Accelerators of each plan, (plans,)."""
        product = self.total(DEGREES[0])
        for name in DEGREES[1:]:
            product = product * self.total(name)
        return product

    def take(self, index: Indices | Mask | slice) -> "MlpPlanBatch":
        """Return some of the plans."""
        arrays = {f.name: getattr(self, f.name)[index] for f in fields(self) if f.name not in _SHARED}
        return replace(self, **arrays)

    def plan(self, index: int) -> MlpPlan:
        """Return one plan by itself."""
        return MlpPlan(
            **{name: tuple(int(v) for v in getattr(self, name)[index]) for name in DEGREES},
            num_microbatches=int(self.num_microbatches[index]),
            interleave=int(self.interleave[index]),
            schedule=self.schedule,
            recompute=self.recompute,
        )

    @classmethod
    def of(cls, plans: Sequence[MlpPlan]) -> "MlpPlanBatch":
        """Stack placed plans that share schedule and recomputation.

        Raises
        ------
        BadInput
            The plans are not placed on the same number of levels or do not share a schedule.
        """
        first = plans[0]
        if any((p.schedule, p.recompute) != (first.schedule, first.recompute) for p in plans):
            raise BadInput("plans in one batch must share schedule and recompute.")
        lengths = {len(getattr(p, name)) if p.is_placed else 0 for p in plans for name in DEGREES}
        if len(lengths) != 1 or 0 in lengths:
            raise BadInput("every degree of every plan in a batch must be placed on the same network levels.")
        degrees = {name: np.asfortranarray([getattr(p, name) for p in plans], dtype=np.float64) for name in DEGREES}
        return cls(
            **degrees,
            num_microbatches=np.array([p.num_microbatches for p in plans], dtype=np.float64),
            interleave=np.array([p.interleave for p in plans], dtype=np.float64),
            schedule=first.schedule,
            recompute=first.recompute,
        )


_SHARED = ("schedule", "recompute")
