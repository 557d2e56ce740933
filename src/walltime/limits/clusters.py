"""Which cluster sizes are tried, and the cluster that a run needs."""

from collections.abc import Iterator
from dataclasses import dataclass

from walltime.engines import Assumptions
from walltime.hardware import Cluster
from walltime.limits.scaling_laws import constants
from walltime.plan import MlpPlan
from walltime.search import PUBLISHED, Search, Space
from walltime.search.mlp_bounds import floor_step_s
from walltime.workload import MlpStack


@dataclass(frozen=True)
class Run:
    """A training run on the cluster chosen for it.

    Attributes
    ----------
    model
        What is trained.
    num_gpus
        Size of the cluster.
    plan
        The best plan on it.
    step_time_s, run_time_s
        Of a step and of the whole run. [s]
    utilization
        Useful FLOP/s over the dense peak.
    """

    model: MlpStack
    num_gpus: int
    plan: MlpPlan
    step_time_s: float
    run_time_s: float
    utilization: float

    @property
    def training_flop(self) -> float:
        """FLOP of the whole run."""
        return self.model.training_flop

    @property
    def gpu_s(self) -> float:
        """Accelerator-seconds of the whole run. [s]"""
        return self.num_gpus * self.run_time_s


def cluster_sizes(model: MlpStack, space: Space, assumptions: Assumptions) -> Iterator[int]:
    """Yield the cluster sizes that are tried, ascending.

    As published, E 2^i with i up to 59. With the finer grid, E k 2^i with odd k up to 9. In the full space
    also k 2^i, whatever the sparsity E.
    """
    grid = constants("cluster_grid")
    exponents = range(int(grid["largest_exponent"]) + 1)
    finer = assumptions.finer_cluster_grid or space != PUBLISHED
    odd = range(1, int(grid["largest_odd_finer"]) + 1, 2) if finer else (1,)
    multiples = {model.num_experts} if space == PUBLISHED else {1, model.num_experts}
    yield from sorted({m * k * 2**i for m in multiples for k in odd for i in exponents})


def sufficient_cluster(
    model: MlpStack,
    cluster: Cluster,
    deadline_s: float,
    space: Space = PUBLISHED,
    assumptions: Assumptions | None = None,
) -> Run | None:
    """Return the run on the cluster that it needs to finish before a deadline, None if no size is enough.

    Parameters
    ----------
    model, cluster
        What is trained, on what kind of cluster.
    deadline_s
        The run must take less. [s]
    space, assumptions
        Which plans and sizes are tried and how the model is read. ``assumptions.cluster_choice`` is ``smallest``
        (the first size that meets the deadline) or ``most_efficient`` (of all sizes that do, the one with the
        fewest accelerator-seconds; of those, the smallest).

    Notes
    -----
    Sizes below C / (deadline x sustained FLOP/s) cannot be enough. For ``most_efficient``, a size N is worth
    trying only below the fewest accelerator-seconds so far over N; once even the launch latency of the matmuls
    (`walltime.search.mlp_bounds.floor_step_s`, the same for every size) takes longer than that, so it does for all
    larger N.
    """
    assumptions = assumptions or Assumptions()
    search = Search(model, cluster, space, assumptions)
    step_deadline_s = deadline_s / model.num_steps
    floor_s = floor_step_s(model, cluster)
    fewest = model.training_flop / (deadline_s * cluster.accelerator.achievable_flop_per_s)
    best: Run | None = None
    for num_gpus in cluster_sizes(model, space, assumptions):
        if num_gpus < fewest:
            continue
        below_s = step_deadline_s if best is None else min(step_deadline_s, best.num_gpus * best.step_time_s / num_gpus)
        if floor_s > below_s:
            break
        found = search.best(num_gpus, below_s)
        if found is None:
            continue
        flop_per_s = model.step_flop / found.step_time_s
        utilization = flop_per_s / (cluster.accelerator.peak_flop_per_s * num_gpus)
        best = Run(model, num_gpus, found.plan, found.step_time_s, found.run_time_s, utilization)
        if assumptions.cluster_choice == "smallest":
            break
    return best
