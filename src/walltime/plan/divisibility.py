"""Does a plan of a real model divide model, batch and cluster? Every refusal names field, value and nearest valid."""

import bisect
import functools
import math
from collections.abc import Iterable

from walltime.hardware import Cluster
from walltime.plan.plan import Plan
from walltime.plan.stages import layers_of_fullest_stage
from walltime.problems import BadInput
from walltime.workload import Training, Transformer

_GRADIENT_BYTES = (0, 2, 4)
_ENDS = 2  # embedding and output layer may have a stage, or a chunk, to themselves
_POWER = 2  # degrees that kernels and networks like are powers of this


@functools.lru_cache(maxsize=65536)
def divisors(number: int) -> tuple[int, ...]:
    """Return the divisors of a positive whole number, ascending."""
    found = [1]
    rest, prime = number, 2
    while rest > 1:
        if prime * prime > rest:
            prime = rest
        powers = [1]
        while rest % prime == 0:
            rest //= prime
            powers.append(powers[-1] * prime)
        if len(powers) > 1:
            found = [d * p for d in found for p in powers]
        prime += 1 if prime == 2 else 2
    return tuple(sorted(found))


def must_divide(name: str, degree: int, whole: str, size: int) -> None:
    """Refuse a degree that does not divide ``size``, which is called ``whole``; name the nearest that do."""
    if size % degree:
        near = nearest(degree, divisors(size))
        raise BadInput(f"{name}={degree} does not divide {whole}={size}. Nearest: {near}.")


def nearest(value: int, valid: Iterable[int]) -> str:
    """Return the largest valid number below and the smallest above, as text."""
    among = sorted(valid)
    above = bisect.bisect_left(among, value)
    return ", ".join(str(number) for number in among[max(0, above - 1) : above + 1])


def check_plan(plan: Plan, training: Training, cluster: Cluster) -> None:
    """Refuse a plan that does not divide the model, the batch or the cluster, or contradicts itself.

    Layers may be shared out unevenly over stages (126 layers on 16): `plan_warnings` says so.

    Raises
    ------
    BadInput
        The first rule that is broken.

    References
    ----------
    Narayanan et al. (2021), section 2.2, for interleaving; Liu et al. (2024), DeepSeek-V3, section 3.2.1, for
    DualPipe, whose stages and microbatches must be even.
    """
    check_split(plan, training)
    _check_cluster(plan, cluster)


def check_split(plan: Plan, training: Training) -> None:
    """Refuse a plan that does not divide the model or the batch, or contradicts itself; see `check_plan`."""
    _check_choices(plan)
    _check_tensor(plan, training.model)
    _check_context(plan, training)
    _check_experts(plan, training.model)
    _check_batch(plan, training)
    _check_pipeline(plan, training)


def num_microbatches(plan: Plan, training: Training) -> int:
    """Microbatches that a pipeline works through in a step."""
    return training.batch_seqs // (plan.dp * plan.micro_batch)


def plan_warnings(plan: Plan, training: Training) -> list[str]:
    """Return what is allowed and yet unusual in a plan that passed `check_plan`, in words."""
    model, said = training.model, []
    layers, chunks = model.num_layers + model.num_mtp_layers, plan.pp * plan.vpp
    if layers % chunks:
        where = f"{plan.pp} stages" + (f" of {plan.vpp} chunks" if plan.vpp > 1 else "")
        fullest = int(layers_of_fullest_stage(layers, plan.pp, plan.vpp))
        said.append(f"{layers} layers do not divide over {where}: the fullest holds {fullest}")
    if plan.pp > 1 and num_microbatches(plan, training) < plan.pp:
        count = num_microbatches(plan, training)
        said.append(f"{count} microbatches leave a pipeline of {plan.pp} stages partly empty")
    for name in ("tp", "cp", "ep"):
        degree = getattr(plan, name)
        if degree & (degree - 1):
            said.append(f"{name}={degree} is not a power of {_POWER}: kernels and networks are slower than estimated")
    return said


def _check_choices(plan: Plan) -> None:
    if not 0 <= plan.recompute_layers <= 1:
        raise BadInput(f"recompute_layers={plan.recompute_layers:g} must be between 0 and 1.")
    if plan.gradient_bytes not in _GRADIENT_BYTES:
        raise BadInput(f"gradient_bytes={plan.gradient_bytes} is no width of a gradient. Valid: 2, 4.")
    if plan.shard:
        if plan.sharding == "ddp":
            raise BadInput(f"shard={plan.shard} needs a sharding other than ddp. Valid: zero1, zero2, zero3.")
        must_divide("shard", plan.shard, "dp", plan.dp)


def _check_tensor(plan: Plan, model: Transformer) -> None:
    must_divide("tp", plan.tp, "num_heads", model.num_heads)
    if plan.tp % model.num_kv_heads and model.num_kv_heads % plan.tp and not model.is_latent:
        valid = [d for d in divisors(model.num_heads) if d % model.num_kv_heads == 0 or model.num_kv_heads % d == 0]
        raise BadInput(
            f"tp={plan.tp} neither divides num_kv_heads={model.num_kv_heads} nor is a multiple of it. "
            f"Nearest: {nearest(plan.tp, valid)}."
        )
    if model.num_moe_layers < model.num_layers:
        must_divide("tp", plan.tp, "d_ff", model.d_ff)
    if model.d_ff_shared:
        must_divide("tp", plan.tp, "d_ff_shared", model.d_ff_shared)


def _check_context(plan: Plan, training: Training) -> None:
    """Ring attention gives each rank an early and a late piece, so that causal work is even."""
    seq_len, heads = training.seq_len, training.model.num_heads
    if plan.cp > 1 and plan.cp_algorithm == "ring":
        if seq_len % 2:
            raise BadInput(f"cp={plan.cp} halves sequences, but seq_len={seq_len} is odd. Valid: cp=1, or an even one.")
        must_divide("cp", plan.cp, "half of seq_len", seq_len // 2)
    elif plan.cp > 1:
        must_divide("cp", plan.cp, "seq_len", seq_len)
        must_divide("cp", plan.cp, "heads of a tensor-parallel rank", heads // plan.tp)
    if plan.sequence_parallel:
        must_divide("tp", plan.tp, "tokens of a sequence on a context-parallel rank", seq_len // plan.cp)


def _check_experts(plan: Plan, model: Transformer) -> None:
    if not model.is_moe:
        for name in ("ep", "etp"):
            if getattr(plan, name) > 1:
                raise BadInput(f"{name}={getattr(plan, name)} needs experts: {model.name} has none. Valid: 1.")
        return
    must_divide("ep", plan.ep, "num_experts", model.num_experts)
    if plan.etp not in (1, plan.tp):
        raise BadInput(f"etp={plan.etp} must be 1 or tp. Nearest: {nearest(plan.etp, {1, plan.tp})}.")
    must_divide("etp", plan.etp, "d_ff_expert", model.d_ff_expert)
    ranks = plan.tp * plan.cp * plan.dp
    if ranks % (plan.ep * plan.etp):
        valid = [d for d in divisors(model.num_experts) if ranks % (d * plan.etp) == 0]
        inside = "" if plan.etp == 1 else f" with etp={plan.etp}"
        raise BadInput(
            f"ep={plan.ep}{inside} does not divide tp x cp x dp={ranks}. Nearest: {nearest(plan.ep, valid)}."
        )


def _check_batch(plan: Plan, training: Training) -> None:
    if training.batch_seqs % plan.dp:
        degrees = nearest(plan.dp, divisors(training.batch_seqs))
        whole = training.batch_seqs // plan.dp
        batches = ", ".join(str(plan.dp * number) for number in (whole, whole + 1) if number)
        raise BadInput(
            f"dp={plan.dp} does not divide batch_seqs={training.batch_seqs}. "
            f"Nearest: dp={degrees}, or batch_seqs={batches}."
        )
    must_divide("micro_batch", plan.micro_batch, "sequences of a pipeline", training.batch_seqs // plan.dp)


def _check_pipeline(plan: Plan, training: Training) -> None:
    slots = training.model.num_layers + training.model.num_mtp_layers + _ENDS
    if plan.vpp > 1:
        if plan.pp == 1:
            raise BadInput(f"vpp={plan.vpp} needs a pipeline: pp is 1. Valid: 1.")
        if plan.schedule != "1f1b":
            raise BadInput(f"vpp={plan.vpp} does not go with schedule={plan.schedule}. Valid: 1, or schedule=1f1b.")
    if plan.pp == 1:
        return
    if plan.pp > slots:
        raise BadInput(f"pp={plan.pp} is more than layers, embedding and output layer: {slots}. Nearest: {slots}.")
    if plan.pp * plan.vpp > slots:
        most = slots // plan.pp
        raise BadInput(f"vpp={plan.vpp} on {plan.pp} stages makes more chunks than layers: {slots}. Nearest: {most}.")
    if plan.schedule == "dualpipe":
        count = num_microbatches(plan, training)
        for name, number in (("pp", plan.pp), ("number of microbatches", count)):
            if number % 2:
                raise BadInput(f"{name}={number} must be even for schedule=dualpipe. Nearest: {_even(number)}.")
    if plan.schedule in ("zb-v", "dualpipe") and 2 * plan.pp > slots:
        raise BadInput(
            f"pp={plan.pp} is too deep for schedule={plan.schedule}, two chunks a stage. Nearest: {slots // 2}."
        )


def _even(number: int) -> str:
    return nearest(number, {number - 1, number + 1} - {0})


def _check_cluster(plan: Plan, cluster: Cluster) -> None:
    num_gpus = cluster.num_gpus or plan.num_gpus
    if plan.num_gpus == num_gpus:
        return
    product = " x ".join(f"{name} {getattr(plan, name)}" for name in ("tp", "cp", "dp", "pp")) or "1"
    raise BadInput(
        f"the plan occupies {plan.num_gpus} accelerators ({product}); the cluster has {num_gpus}."
        + _filling(plan, num_gpus)
    )


def _filling(plan: Plan, num_gpus: int) -> str:
    """Name the degree of data parallelism, else of another kind, with which a plan would fill the cluster."""
    for name in ("dp", "pp", "cp", "tp"):
        others = math.prod(getattr(plan, other) for other in ("tp", "cp", "dp", "pp") if other != name)
        if num_gpus % others == 0:
            return f" It would fill it with {name}={num_gpus // others}."
    return ""
