"""The fastest plan of all that the planner knows, beside the best of tensor × pipeline × FSDP."""

import functools
from dataclasses import replace

from walltime.engines.stack import stack
from walltime.planner import Question, recommend
from walltime.studies.fernandez2024.points import Point, points
from walltime.studies.fernandez2024.setting import Setting

RUNS_LIKE = "megatron-core"
"""Whose plans are tried: everything that the estimate knows, DualPipe included, takes up to 65 times as long."""
ANY_PLAN_MEANS = (
    "“any plan” is the fastest that the planner finds among all that Megatron-Core can run (state shared out over "
    "fewer ranks, parameters kept after the forward pass, context parallelism, interleaved pipelines, recomputation), "
    "with the same numbers"
)
"""What the series is, in words for captions."""


@functools.cache
def any_plan(setting: Setting) -> Point:
    """Return the fastest plan of a setting that Megatron-Core could run, at the speed of the setting's own software.

    The planner knows the catalog's estimates only: what a ring waits cannot be changed.
    """
    software = replace(setting.software(), runs=stack(RUNS_LIKE).runs)
    asked = Question(setting.training, (setting.on(),), software, precisions=(setting.precision,), top=1)
    return points(setting, (recommend(asked).best.plan,))[0]
