"""Placing one given plan: the fastest way to put its degrees on the network's levels."""

from dataclasses import replace
from typing import Any

import numpy as np

from walltime.engines import Assumptions, matmul_device, step_terms
from walltime.hardware import Cluster
from walltime.plan import DEGREES, MlpPlan, MlpPlanBatch, check_mlp_plan, level_sizes, placements
from walltime.workload import MlpStack


def placed_plan(model: MlpStack, cluster: Cluster, plan: MlpPlan, assumptions: Assumptions | None = None) -> MlpPlan:
    """Return the plan with its degrees on network levels, where they are not given: the fastest placement.

    Parameters
    ----------
    model, cluster, assumptions
        As for the engine.
    plan
        Degrees by level, or over all levels.

    Raises
    ------
    BadInput
        The plan does not divide the model or the cluster.
    """
    check_mlp_plan(plan, model, cluster)
    if plan.is_placed:
        return plan
    assumptions = assumptions or Assumptions()
    on_one_level: Any = {name: (plan.degree(name),) for name in DEGREES}
    flat = MlpPlanBatch.of([replace(plan, **on_one_level)])
    placed, _ = placements(flat, level_sizes(plan.num_gpus, cluster.network.level_sizes))
    terms = step_terms(model, matmul_device(cluster.accelerator, assumptions), cluster.network, placed)
    communication_s = terms.tp_s + terms.pp_s + terms.dp_s
    order = np.lexsort((communication_s, terms.step_s(plan.schedule, assumptions)))
    return placed.plan(int(order[0]))
