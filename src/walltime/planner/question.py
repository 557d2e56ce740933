"""What is asked of the planner: a training, the clusters it may run on, what is best, and what is required."""

import math
from dataclasses import dataclass, replace
from typing import Literal

from walltime.economics.terms import USUAL_TERMS, Terms
from walltime.engines.calibration import kernels
from walltime.engines.stack import Stack
from walltime.hardware import Cluster
from walltime.plan import PRECISIONS, Precision
from walltime.problems import BadInput, unknown
from walltime.search.constraints import UNCONSTRAINED, Constraints
from walltime.units import positive, whole
from walltime.workload import Training

Goal = Literal["time", "cost", "energy", "memory", "gpus"]
GOALS: tuple[Goal, ...] = ("time", "cost", "energy", "memory", "gpus")
"""Least step time; least cost or energy of a token; least memory on the fullest accelerator; fewest accelerators."""
LARGEST_CLUSTER = 10**7
"""Accelerators of the largest cluster that is searched: any number of its divisors is still tried in seconds."""


@dataclass(frozen=True)
class Question:
    """Which plan is best?

    Attributes
    ----------
    training
        Model, sequence length and batch.
    clusters
        Clusters that may be used, each with its number of accelerators.
    stack
        Training software.
    goal
        What is best.
    constraints
        What is asked of a plan.
    precisions
        Number formats that are tried; by default each accelerator's usual 16-bit one.
    top
        Layouts that are wanted.
    tokens
        Of the whole run; None if that is not asked.
    deadline_s
        How long the whole run may take, interruptions included; needs ``tokens``. [s]
    terms
        On what terms accelerators are had: prices, rented or owned, power, failures.
    """

    training: Training
    clusters: tuple[Cluster, ...]
    stack: Stack
    goal: Goal = "time"
    constraints: Constraints = UNCONSTRAINED
    precisions: tuple[Precision, ...] = ()
    top: int = 10
    tokens: float | None = None
    deadline_s: float | None = None
    terms: Terms = USUAL_TERMS

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        if self.goal not in GOALS:
            raise unknown("goal", self.goal, GOALS)
        whole(self.top, "top")
        if not self.clusters:
            raise BadInput("no cluster is named. Valid: --on 2048xh100-sxm.")
        for cluster in self.clusters:
            whole(cluster.num_gpus or 1, "number of accelerators", LARGEST_CLUSTER)
        if self.tokens is not None:
            positive(self.tokens, "tokens")
        for precision in self.precisions:
            if precision not in PRECISIONS:
                raise unknown("precision", precision, PRECISIONS)
        if self.deadline_s is not None:
            positive(self.deadline_s, "deadline")
            if self.tokens is None:
                raise BadInput("deadline needs the tokens of the whole run. Valid: --tokens 15T.")

    def precisions_on(self, cluster: Cluster) -> tuple[Precision, ...]:
        """Return the number formats that are tried on a cluster: bf16 where accelerator and software have it."""
        if self.precisions:
            return self.precisions
        peaks, usual_ones = kernels(cluster.accelerator.id).peak_flop_per_s, ("bf16", "fp16", "fp32")
        usual = next((name for name in usual_ones if name in peaks), "fp16")
        had = [name for name in (usual, *self.stack.runs.precisions) if name in self.stack.runs.precisions]
        return (had[0],)

    def with_constraints(self, constraints: Constraints) -> "Question":
        """Return the same question with other constraints."""
        return replace(self, constraints=constraints)

    @property
    def compares_times(self) -> bool:
        """Whether plans on one cluster are compared by their step times: the goals time, cost and gpus."""
        return self.goal not in ("memory", "energy")

    @property
    def num_steps(self) -> float:
        """Steps of the whole run; one if no tokens were asked for."""
        return 1.0 if self.tokens is None else self.tokens / self.training.batch_tokens

    @property
    def most_step_s(self) -> float:
        """Step time with which a run without failures ends at the deadline; infinity if there is none. [s]"""
        return math.inf if self.deadline_s is None else self.deadline_s / self.num_steps
