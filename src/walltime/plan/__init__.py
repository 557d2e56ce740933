"""HOW a workload is split: plans as arrays, their placement on network levels, schedules."""

from walltime.plan.divisibility import check_plan, divisors
from walltime.plan.placement import level_sizes, placements
from walltime.plan.plan import DEGREES, Plan, PlanBatch
from walltime.plan.schedule import SCHEDULES, Schedule, bubble_stretch, smallest_num_microbatches

__all__ = [
    "DEGREES",
    "SCHEDULES",
    "Plan",
    "PlanBatch",
    "Schedule",
    "bubble_stretch",
    "check_plan",
    "divisors",
    "level_sizes",
    "placements",
    "smallest_num_microbatches",
]
