"""Does a software stack support a plan? Rules that hold for one framework and not for another."""

from walltime.engines.stack import Stack
from walltime.plan import Plan, divisors, num_microbatches
from walltime.plan.divisibility import nearest
from walltime.problems import BadInput
from walltime.workload import Training


def check_stack(plan: Plan, training: Training, stack: Stack) -> None:
    """Refuse a plan that the software stack cannot run.

    Raises
    ------
    BadInput
        A sharding that does not go with its pipelines, interleaving that it lacks, or a number of microbatches that
        its interleaved schedule cannot share out.

    References
    ----------
    ``sources`` of ``data/stacks/<id>.toml``.
    """
    if plan.pp == 1:
        return
    if plan.sharding not in stack.pipeline_sharding:
        valid = ", ".join(stack.pipeline_sharding)
        raise BadInput(f"sharding={plan.sharding} does not go with pp={plan.pp} in {stack.name}. Valid: {valid}.")
    if plan.vpp > 1:
        _check_interleaving(plan, training, stack)


def _check_interleaving(plan: Plan, training: Training, stack: Stack) -> None:
    count = num_microbatches(plan, training)
    if stack.interleaving == "none":
        raise BadInput(f"vpp={plan.vpp}: {stack.name} does not interleave its pipelines. Valid: 1.")
    if stack.interleaving == "rounds" and count % plan.pp:
        local = training.batch_seqs // plan.dp
        valid = [size for size in divisors(local) if local // size % plan.pp == 0]
        ways = [f"micro_batch {nearest(plan.micro_batch, valid)}"] if valid else []
        raise BadInput(
            f"vpp={plan.vpp} needs a number of microbatches that pp={plan.pp} divides in {stack.name}: {count}. "
            f"Nearest: {', '.join([*ways, 'vpp 1'])}."
        )
