"""The result of an engine: named parts of a step that add up, bounds, memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from walltime.arrays import Floats, Mask
from walltime.display import html_table
from walltime.hardware import Cluster
from walltime.units import format_time


class Plans(Protocol):
    """A batch of plans of either engine: `walltime.plan.MlpPlanBatch`, `walltime.plan.PlanBatch`."""

    def __len__(self) -> int: ...

    @property
    def num_gpus(self) -> Floats:
        """Accelerators of each plan, (plans,)."""

    def plan(self, index: int, /) -> Any:
        """Return one plan by itself: a `walltime.plan.MlpPlan` or a `walltime.plan.Plan`."""


@dataclass(frozen=True, repr=False)
class Estimate:
    """How long one step takes under each plan of a batch, and why.

    Attributes
    ----------
    plans, cluster
        What was asked.
    parts_s : mapping of name to (plans,)
        Time that nothing else hides, by cause; the parts add up to `time_s`. [s]
    busy_s : mapping of name to (plans,)
        How long each resource is in use, hidden or not. [s]
    lower_s, upper_s : (plans,)
        The step if everything that can overlap did, and if nothing did. [s]
    memory_bytes : mapping of name to (plans,)
        Memory by use: of the whole cluster for the theory, of the fullest accelerator for a transformer. [B]
    memory_capacity_bytes : (plans,)
        Memory that is there for it. [B]
    step_flop
        Useful FLOP of a step: 6 per active parameter and token for the theory, by a named convention for a transformer.
    num_steps
        Steps of the whole run.
    """

    plans: Plans
    cluster: Cluster
    parts_s: Mapping[str, Floats]
    busy_s: Mapping[str, Floats]
    lower_s: Floats
    upper_s: Floats
    memory_bytes: Mapping[str, Floats]
    memory_capacity_bytes: Floats
    step_flop: float
    num_steps: float

    def __len__(self) -> int:
        return len(self.plans)

    @property
    def time_s(self) -> Floats:
        """Time of one step [s], (plans,): the sum of the parts."""
        return np.add.reduce(list(self.parts_s.values()))

    @property
    def run_time_s(self) -> Floats:
        """Time of the whole run [s], (plans,)."""
        return self.num_steps * self.time_s

    @property
    def utilization(self) -> Floats:
        """Useful FLOP/s over the dense peak, (plans,)."""
        return self.step_flop / (self.cluster.accelerator.peak_flop_per_s * self.plans.num_gpus) / self.time_s

    @property
    def fits(self) -> Mask:
        """Whether what is counted fits the cluster's memory, (plans,)."""
        return np.add.reduce(list(self.memory_bytes.values())) <= self.memory_capacity_bytes

    def __repr__(self) -> str:
        first = (
            f"{format_time(float(self.time_s[0]))} a step [{format_time(float(self.lower_s[0]))}, "
            f"{format_time(float(self.upper_s[0]))}], utilisation {float(self.utilization[0]):.1%}"
        )
        more = f" and {len(self) - 1} more plans" if len(self) > 1 else ""
        return f"Estimate({self.cluster.name}: {first} with {self.plans.plan(0)}{more})"

    def _repr_html_(self) -> str:
        return html_table(f"Estimate, {self.cluster.name}", self.to_rows())

    def to_rows(self) -> list[dict[str, object]]:
        """One flat dictionary a plan, units in the keys."""
        return [
            {
                **{f"plan.{k}": v for k, v in vars(self.plans.plan(i)).items()},
                "num_gpus": int(self.plans.num_gpus[i]),
                "step_time_s": float(self.time_s[i]),
                "lower_s": float(self.lower_s[i]),
                "upper_s": float(self.upper_s[i]),
                "utilization": float(self.utilization[i]),
                "run_time_s": float(self.run_time_s[i]),
                "fits": bool(self.fits[i]),
                **{f"{name}_s": float(part[i]) for name, part in self.parts_s.items()},
            }
            for i in range(len(self))
        ]
