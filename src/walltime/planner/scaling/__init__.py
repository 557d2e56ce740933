"""What each added accelerator, watt and dollar returns: the best plan at each size of a cluster, and what it costs."""

from walltime.planner.scaling.curve import Curve, Scaling, require_possible, scale
from walltime.planner.scaling.hull import HALF, halving, hull, hull_shares, shortfall
from walltime.planner.scaling.point import ScalePoint
from walltime.planner.scaling.question import MODES, ScaleQuestion, sequences_per_gpu
from walltime.planner.scaling.returns import Marginal, Totals, marginals

__all__ = [
    "HALF",
    "MODES",
    "Curve",
    "Marginal",
    "ScalePoint",
    "ScaleQuestion",
    "Scaling",
    "Totals",
    "halving",
    "hull",
    "hull_shares",
    "marginals",
    "require_possible",
    "scale",
    "sequences_per_gpu",
    "shortfall",
]
