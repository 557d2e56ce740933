"""Plans that fit an accelerator's memory, nearest to one that does not: what to change, and as little as possible."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from walltime.arrays import Mask
from walltime.engines.compatibility import broken_rules, check_stack
from walltime.engines.stack import Stack
from walltime.engines.transformer import estimate, memory_numbers, usable_bytes
from walltime.engines.transformer_memory import memory_bytes, needed_bytes
from walltime.hardware import Cluster
from walltime.plan import RECOMPUTES, SHARDINGS, Plan, PlanBatch, check_plan, divisors
from walltime.problems import BadInput
from walltime.workload import Training

_DEGREES = ("tp", "cp", "pp", "ep", "vpp", "micro_batch")
_LARGEST_STEP = 8  # context and expert parallelism grow at most so many times


def nearest_plans_that_fit(
    training: Training, cluster: Cluster, plan: Plan, stack: Stack, count: int = 1
) -> list[Plan]:
    """Return plans on as many accelerators that fit, with the fewest changes to a given one; none if there is none.

    More recomputation, more sharding, smaller micro-batches, other degrees of tensor, pipeline, context and expert
    parallelism are tried, each alone and together. Of plans with equally many changes those with smaller ones are
    nearer, and of these the fastest.

    Parameters
    ----------
    training, cluster, stack
        What is trained, on what, by what software.
    plan
        One that divides model and batch; if it fits, it is its own nearest.
    count
        How many to return at most.
    """
    layouts = list(_layouts(training, plan, cluster, stack))
    fitting = [candidate for candidate in _fitting(layouts, training, cluster, plan, stack) if candidate != plan]
    if _fits(PlanBatch.of([plan]), training, cluster, stack)[0]:
        fitting.insert(0, plan)

    def distance(one: Plan) -> tuple[int, float]:
        return _distance(one, plan)

    found: list[Plan] = []
    for _, group in itertools.groupby(sorted(fitting, key=distance), distance):
        found += sorted(group, key=lambda one: _time_s(one, training, cluster, stack))
        if len(found) >= count:
            break
    return found[:count]


def _fits(plans: PlanBatch, training: Training, cluster: Cluster, stack: Stack) -> Mask:
    needed = needed_bytes(memory_bytes(training, plans, stack, memory_numbers(stack.id)))
    return np.asarray(needed <= usable_bytes(cluster))


def _time_s(plan: Plan, training: Training, cluster: Cluster, stack: Stack) -> float:
    return float(estimate(training, cluster, PlanBatch.of([plan]), stack).time_s[0])


def _layouts(training: Training, plan: Plan, cluster: Cluster, stack: Stack) -> Iterator[Plan]:
    """Yield plans with other degrees and micro-batches that divide model, batch and cluster."""
    on = cluster.with_num_gpus(plan.num_gpus)
    for degrees in itertools.product(*(_options(name, training, plan, cluster) for name in _DEGREES)):
        changed: dict[str, Any] = dict(zip(_DEGREES, degrees, strict=True))
        dp, rest = divmod(plan.num_gpus, changed["tp"] * changed["cp"] * changed["pp"])
        if rest or training.batch_seqs % (dp * changed["micro_batch"]):
            continue
        changed |= {"dp": dp, "etp": changed["tp"] if plan.etp > 1 else 1}
        changed["shard"] = plan.shard if dp % max(plan.shard, 1) == 0 else dp
        try:
            candidate = replace(plan, **changed)
            check_plan(candidate, training, on)
            check_stack(candidate, training, stack)
        except BadInput:
            continue
        yield candidate
        if 0 < candidate.shard < dp:
            yield replace(candidate, shard=dp)


def _options(name: str, training: Training, plan: Plan, cluster: Cluster) -> list[int]:
    """Return the values of a degree that are worth a try: those that save memory, the present one first."""
    model, present = training.model, int(getattr(plan, name))
    if name == "tp":
        inner = cluster.network.level_sizes[0] if cluster.network.level_sizes else plan.num_gpus
        others = [degree for degree in divisors(model.num_heads) if degree <= inner]
    elif name == "pp":
        others = [degree for degree in divisors(plan.num_gpus) if degree <= model.num_layers]
    elif name == "micro_batch":
        others = [size for size in divisors(present) if size < present]
    elif name == "vpp":
        others = [1]
    else:
        whole = model.num_experts if name == "ep" else plan.num_gpus
        others = [degree for degree in divisors(whole) if present < degree <= present * _LARGEST_STEP] if whole else []
    return [present, *(other for other in others if other != present)]


def _fitting(layouts: list[Plan], training: Training, cluster: Cluster, plan: Plan, stack: Stack) -> Iterator[Plan]:
    """Yield those of the layouts that fit, under each sharding and recomputation that saves as much or more."""
    if not layouts:
        return
    batch = PlanBatch.of(layouts)
    shardings = SHARDINGS[SHARDINGS.index(plan.sharding) :]
    recomputes = RECOMPUTES[RECOMPUTES.index(plan.recompute) :]
    sequences = [True] if plan.sequence_parallel else [False, True]
    for sharding, recompute, sequence in itertools.product(shardings, recomputes, sequences):
        again = batch.recompute_layers if recompute == plan.recompute else np.ones_like(batch.tp)
        choices: dict[str, Any] = {"sharding": sharding, "recompute": recompute, "sequence_parallel": sequence}
        tried = replace(batch, recompute_layers=again, **choices)
        for index in np.flatnonzero(_fits(tried, training, cluster, stack)):
            shard = layouts[index].shard
            candidate = replace(tried.plan(int(index)), shard=shard)
            if sequence != plan.sequence_parallel and candidate.tp == 1:
                continue
            if not any(broken_rules(candidate, training, stack)):
                yield candidate


def _distance(plan: Plan, given: Plan) -> tuple[int, float]:
    """Return how many choices differ, and by how much: doublings of degrees and steps of kinds."""
    changed = 0
    size = 0.0
    for name in _DEGREES:
        ratio = getattr(plan, name) / getattr(given, name)
        changed += ratio != 1
        size += abs(math.log2(ratio))
    for name, kinds in (("sharding", SHARDINGS), ("recompute", RECOMPUTES)):
        steps = kinds.index(getattr(plan, name)) - kinds.index(getattr(given, name))
        changed += steps != 0
        size += abs(steps)
    changed += plan.sequence_parallel != given.sequence_parallel
    return changed + (plan.shard != given.shard), round(size, 6)
