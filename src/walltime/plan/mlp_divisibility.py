"""Does a plan divide the model and the cluster? Every refusal names the field and the nearest valid values."""

import math

from walltime.hardware import Cluster, Network
from walltime.plan.divisibility import must_divide
from walltime.plan.mlp_placement import level_sizes
from walltime.plan.mlp_plan import DEGREES, MlpPlan
from walltime.plan.schedule import smallest_num_microbatches
from walltime.problems import BadInput
from walltime.workload import MlpStack


def check_mlp_plan(plan: MlpPlan, model: MlpStack, cluster: Cluster) -> None:
    """Refuse a plan that does not divide the model, the batch or the cluster exactly.

    Raises
    ------
    BadInput
        The first rule that is broken.
    """
    if plan.is_placed:
        _check_levels(plan, cluster.network)
    _check_model(plan, model)
    _check_microbatches(plan, model)
    _check_cluster(plan, cluster)


def _check_levels(plan: MlpPlan, network: Network) -> None:
    for name in DEGREES:
        given = len(getattr(plan, name))
        if given != network.num_levels:
            levels = ", ".join(network.level_names)
            raise BadInput(
                f"{name} is given for {given} network levels; {network.id} has {network.num_levels} ({levels})."
            )


def _check_model(plan: MlpPlan, model: MlpStack) -> None:
    for name, whole, size in (
        ("tp_ff", "d_ff", model.d_ff),
        ("tp_model", "d_model", model.d_model),
        ("pp", "num_layers", model.num_layers),
        ("ep", "num_experts", model.num_experts),
        ("dp", "tokens of an expert's batch", model.batch_tokens // model.num_experts),
    ):
        must_divide(name, plan.degree(name), whole, size)
    if plan.interleave > 1:
        if plan.degree("pp") == 1:
            raise BadInput(f"interleave={plan.interleave} needs a pipeline: pp is 1. Valid: 1.")
        if plan.schedule == "zero-bubble":
            raise BadInput(f"interleave={plan.interleave} does not go with schedule=zero-bubble. Valid: 1.")
        must_divide("interleave", plan.interleave, "layers of a stage", model.num_layers // plan.degree("pp"))


def _check_microbatches(plan: MlpPlan, model: MlpStack) -> None:
    tokens = model.batch_tokens // model.num_experts // plan.degree("dp")
    must_divide("num_microbatches", plan.num_microbatches, "tokens of a pipeline and expert", tokens)
    fewest = smallest_num_microbatches(plan.schedule, plan.degree("pp"))
    if plan.num_microbatches < fewest:
        raise BadInput(
            f"num_microbatches={plan.num_microbatches} leaves a {plan.schedule} pipeline of {plan.degree('pp')} "
            f"stages empty. Valid: {fewest} or more."
        )


def _check_cluster(plan: MlpPlan, cluster: Cluster) -> None:
    num_gpus = cluster.num_gpus or plan.num_gpus
    if plan.num_gpus != num_gpus:
        product = " x ".join(f"{name} {plan.degree(name)}" for name in DEGREES if plan.degree(name) > 1) or "1"
        raise BadInput(f"the plan occupies {plan.num_gpus} accelerators ({product}); the cluster has {num_gpus}.")
    sizes = level_sizes(num_gpus, cluster.network.level_sizes)
    if not plan.is_placed:
        return
    for level, (level_name, size) in enumerate(zip(cluster.network.level_names, sizes, strict=True)):
        product = math.prod(getattr(plan, name)[level] for name in DEGREES)
        if product != size:
            raise BadInput(
                f"the degrees at level {level_name!r} multiply to {product}; it joins {size} in this cluster."
            )
