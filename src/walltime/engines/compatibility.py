"""Does a software stack support a plan? Rules that hold for one framework and not for another."""

from collections.abc import Iterable, Iterator

from walltime.engines.stack import Stack
from walltime.plan import Plan, divisors, num_microbatches
from walltime.plan.divisibility import nearest
from walltime.problems import BadInput
from walltime.workload import Training

_KINDS = {"tp": "tensor", "cp": "context", "ep": "expert", "pp": "pipeline"}


def check_stack(plan: Plan, training: Training, stack: Stack) -> None:
    """Refuse a plan that the software stack cannot run.

    Raises
    ------
    BadInput
        The first of `broken_rules`.

    References
    ----------
    ``sources`` of ``data/stacks/<id>.toml``.
    """
    for _, message in broken_rules(plan, training, stack):
        raise BadInput(f"{message} Or stack=generic, which takes any plan.")


def broken_rules(plan: Plan, training: Training, stack: Stack) -> Iterator[tuple[str, str]]:
    """Yield each rule of a stack that a plan breaks, by the field of `Capabilities` that states it, and in words.

    A choice that changes nothing breaks no rule: a schedule without a pipeline, sequence parallelism without tensor
    parallelism, the place of a kind of parallelism on the network whose degree is 1.
    """
    for kind, name in _KINDS.items():
        if getattr(plan, kind) > 1 and kind not in stack.runs.kinds:
            yield "kinds", f"{kind}={getattr(plan, kind)}: {stack.name} has no {name} parallelism. Valid: 1."
    yield from _broken_by_precision(plan, stack)
    yield from _broken_by_sharding(plan, stack)
    yield from _broken_by_recompute(plan, stack)
    yield from _broken_by_layer(plan, training, stack)
    if plan.pp > 1 and "pp" in stack.runs.kinds:
        yield from _broken_by_pipeline(plan, training, stack)
    yield from _broken_by_order(plan, training, stack)


def _broken_by_precision(plan: Plan, stack: Stack) -> Iterator[tuple[str, str]]:
    if plan.precision not in stack.runs.precisions:
        yield "precisions", _lacks("precision", plan.precision, stack, stack.runs.precisions)


def _broken_by_sharding(plan: Plan, stack: Stack) -> Iterator[tuple[str, str]]:
    runs = stack.runs
    if plan.sharding not in runs.shardings:
        yield "shardings", _lacks("sharding", plan.sharding, stack, runs.shardings)
    elif plan.pp > 1 and "pp" in runs.kinds and plan.sharding not in runs.pipeline_sharding:
        valid = ", ".join(runs.pipeline_sharding)
        said = f"sharding={plan.sharding} does not go with pp={plan.pp} in {stack.name}. Valid: {valid}."
        yield "pipeline_sharding", said
    if 0 < plan.shard < plan.dp and plan.sharding != "ddp" and plan.sharding not in runs.hybrid_shard:
        said = f"shard={plan.shard}: {stack.name} shares out {plan.sharding} state over all dp={plan.dp} ranks."
        others = f", or sharding {' or '.join(runs.hybrid_shard)}" if runs.hybrid_shard else ""
        yield "hybrid_shard", f"{said} Valid: {plan.dp}{others}."
    if plan.sharding == "zero3" and runs.reshard and plan.reshard not in runs.reshard:
        yield "reshard", _lacks("reshard", plan.reshard, stack, runs.reshard)
    if plan.offload_optimizer and not runs.offload_optimizer:
        yield "offload_optimizer", _lacks("offload_optimizer", True, stack, (False,))


def _broken_by_recompute(plan: Plan, stack: Stack) -> Iterator[tuple[str, str]]:
    if plan.recompute not in stack.runs.recomputes:
        yield "recomputes", _lacks("recompute", plan.recompute, stack, stack.runs.recomputes)
    elif plan.recompute == "full" and plan.recompute_layers < 1 and not stack.runs.partial_recompute:
        said = f"recompute_layers={plan.recompute_layers:g}: {stack.name} recomputes every layer or none. Valid: 1."
        yield "partial_recompute", said


def _broken_by_layer(plan: Plan, training: Training, stack: Stack) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with how a layer is split: its sequence, its context, its experts."""
    runs = stack.runs
    is_moe = training.model.is_moe
    sequences = runs.moe_sequence_parallel if is_moe else runs.sequence_parallel
    if plan.tp > 1 and "tp" in runs.kinds and plan.sequence_parallel not in sequences:
        also = " with experts" if is_moe and plan.sequence_parallel in runs.sequence_parallel else ""
        yield "sequence_parallel", _lacks("sequence_parallel", plan.sequence_parallel, stack, sequences, also)
    if plan.cp > 1 and "cp" in runs.kinds and plan.cp_algorithm not in runs.cp_algorithms:
        yield "cp_algorithms", _lacks("cp_algorithm", plan.cp_algorithm, stack, runs.cp_algorithms)
    degrees = [plan.tp if choice == "tp" else 1 for choice in runs.etp] or [1]
    if is_moe and plan.etp not in degrees:
        yield "etp", _lacks("etp", plan.etp, stack, degrees)


def _broken_by_pipeline(plan: Plan, training: Training, stack: Stack) -> Iterator[tuple[str, str]]:
    if plan.schedule not in stack.runs.schedules:
        yield "schedules", _lacks("schedule", plan.schedule, stack, stack.runs.schedules)
    if plan.vpp > 1:
        yield from _broken_by_interleaving(plan, training, stack)
    layers = training.model.num_layers + training.model.num_mtp_layers
    if layers % (plan.pp * plan.vpp) and not stack.runs.uneven_stages:
        valid = nearest(plan.pp, (degree for degree in divisors(layers) if layers % (degree * plan.vpp) == 0))
        said = f"pp={plan.pp} x vpp={plan.vpp}: {stack.name} gives every stage as many layers, of {layers}."
        yield "uneven_stages", f"{said} Nearest: pp {valid or 1}."


def _broken_by_interleaving(plan: Plan, training: Training, stack: Stack) -> Iterator[tuple[str, str]]:
    count = num_microbatches(plan, training)
    if stack.runs.interleaving == "none":
        yield "interleaving", f"vpp={plan.vpp}: {stack.name} does not interleave its pipelines. Valid: 1."
    if stack.runs.interleaving == "rounds" and count % plan.pp:
        local = training.batch_seqs // plan.dp
        valid = [size for size in divisors(local) if local // size % plan.pp == 0]
        ways = [f"micro_batch {nearest(plan.micro_batch, valid)}"] if valid else []
        yield (
            "interleaving",
            f"vpp={plan.vpp} needs a number of microbatches that pp={plan.pp} divides in {stack.name}: {count}. "
            f"Nearest: {', '.join([*ways, 'vpp 1'])}.",
        )


def _broken_by_order(plan: Plan, training: Training, stack: Stack) -> Iterator[tuple[str, str]]:
    """Yield the order on the network if none of the stack looks like it; ep has no place of its own."""
    wide = [kind for kind in plan.order if kind != "ep" and getattr(plan, kind) > 1]
    inside = plan.etp * plan.ep if training.model.is_moe else plan.tp
    orders = stack.runs.orders if plan.tp * plan.cp == inside else stack.runs.folded_orders
    if not any([kind for kind in order if kind in wide] == wide for order in orders):
        valid = ", or ".join(",".join(order) for order in orders)
        yield "orders", f"order={','.join(plan.order)}: {stack.name} does not lay it out. Valid: {valid}."


def _lacks(field: str, value: object, stack: Stack, valid: Iterable[object], also: str = "") -> str:
    return f"{field}={value}: {stack.name} does not have it{also}. Valid: {', '.join(map(str, valid))}."
