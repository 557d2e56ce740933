"""How far training can scale: families of runs, the cluster each needs, the frontier, and closed forms."""

from walltime.limits.closed_form import (
    T_CRIT_POWERS,
    T_LIMIT_POWERS,
    NodeBalance,
    sensitivities,
    t_crit_flop,
    t_limit_flop,
)
from walltime.limits.clusters import Run, cluster_sizes, sufficient_cluster
from walltime.limits.families import RunFamily, width_grid
from walltime.limits.frontier import (
    Frontier,
    FrontierQuestion,
    LatencyWall,
    LinearScalingEnd,
    frontier,
)

__all__ = [
    "T_CRIT_POWERS",
    "T_LIMIT_POWERS",
    "Frontier",
    "FrontierQuestion",
    "LatencyWall",
    "LinearScalingEnd",
    "NodeBalance",
    "Run",
    "RunFamily",
    "cluster_sizes",
    "frontier",
    "sensitivities",
    "sufficient_cluster",
    "t_crit_flop",
    "t_limit_flop",
    "width_grid",
]
