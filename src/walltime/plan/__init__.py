"""HOW a workload is split: plans as arrays, their placement on network levels, schedules."""

from walltime.plan.divisibility import check_plan, divisors, num_microbatches, plan_warnings
from walltime.plan.mlp_divisibility import check_mlp_plan
from walltime.plan.mlp_placement import level_sizes, placements
from walltime.plan.mlp_plan import DEGREES, MlpPlan, MlpPlanBatch
from walltime.plan.plan import (
    CONTEXT_ALGORITHMS,
    GROUPS,
    PIPELINE_SCHEDULES,
    PRECISIONS,
    RECOMPUTES,
    SHARDINGS,
    ContextAlgorithm,
    PipelineSchedule,
    Plan,
    PlanBatch,
    Precision,
    Recompute,
    Sharding,
)
from walltime.plan.schedule import SCHEDULES, Schedule, bubble_stretch, smallest_num_microbatches

__all__ = [
    "CONTEXT_ALGORITHMS",
    "DEGREES",
    "GROUPS",
    "PIPELINE_SCHEDULES",
    "PRECISIONS",
    "RECOMPUTES",
    "SCHEDULES",
    "SHARDINGS",
    "ContextAlgorithm",
    "MlpPlan",
    "MlpPlanBatch",
    "PipelineSchedule",
    "Plan",
    "PlanBatch",
    "Precision",
    "Recompute",
    "Schedule",
    "Sharding",
    "bubble_stretch",
    "check_mlp_plan",
    "check_plan",
    "divisors",
    "level_sizes",
    "num_microbatches",
    "placements",
    "plan_warnings",
    "smallest_num_microbatches",
]
