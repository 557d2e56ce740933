"""Which plans and models are run; every refusal names the field, its value and what would be valid."""

import math
from collections.abc import Iterator, Sequence

from walltime.measure.records import TrainRequest
from walltime.plan import GROUPS, Plan, num_microbatches
from walltime.plan.divisibility import check_split
from walltime.problems import BadInput
from walltime.workload import Training, Transformer

PRECISIONS, SHARDINGS, SCHEDULES = ("bf16", "fp32"), ("ddp", "zero3"), ("1f1b", "gpipe")
_NORMS = (1, 2, 4)


def check_request(request: TrainRequest, num_ranks: int | None = None, device_kind: str | None = None) -> None:
    """Refuse what does not divide, what PyTorch does not run by itself, and what is not built here.

    Parameters
    ----------
    request
        Steps to run.
    num_ranks
        Processes that run; not looked at where it is not known.
    device_kind
        What they run on, likewise.

    Raises
    ------
    BadInput
        The first rule that is broken.
    """
    training, plan = request.training, request.plan
    check_split(plan, training)
    for problem in (*_plan(plan, training), *_model(training), *_tensor(plan, training), *_context(plan, training)):
        raise BadInput(problem)
    if device_kind == "cpu" and plan.cp > 1:
        raise BadInput(f"cp={plan.cp} needs GPUs: PyTorch's ring attention has no kernel for CPUs. Valid: 1.")
    if num_ranks is not None and num_ranks != plan.num_gpus:
        degrees = " x ".join(f"{name} {getattr(plan, name)}" for name in ("tp", "cp", "dp", "pp"))
        raise BadInput(f"the plan has {plan.num_gpus} processes ({degrees}), but {num_ranks} run. Valid: as many.")


def _plan(plan: Plan, training: Training) -> Iterator[str]:
    yield from _one_of("precision", plan.precision, PRECISIONS)
    yield from _one_of("sharding", plan.sharding, SHARDINGS)
    yield from _one_of("gradient_bytes", plan.gradient_bytes, (0, 4))
    yield from _one_of("ep", plan.ep, (1,))
    yield from _one_of("etp", plan.etp, (1,))
    if plan.offload_optimizer:
        yield "offload_optimizer=true is not run here. Valid: false."
    if plan.order != GROUPS:
        yield f"order={','.join(plan.order)} is not run here. Valid: {','.join(GROUPS)}."
    if plan.cp > 1:
        yield from _one_of("cp_algorithm", plan.cp_algorithm, ("ring",))
    if plan.pp > 1:
        yield from _pipeline(plan, training)


def _pipeline(plan: Plan, training: Training) -> Iterator[str]:
    yield from _one_of("schedule", plan.schedule, SCHEDULES)
    layers, chunks, count = training.model.num_layers, plan.pp * plan.vpp, num_microbatches(plan, training)
    if chunks > layers:
        yield f"pp={plan.pp} x vpp={plan.vpp} makes more chunks than the {layers} layers. Valid: at most {layers}."
    if training.model.tied_embeddings:
        yield (
            f"pp={plan.pp} would put the embedding and the output layer, which are tied in {training.model.name}, "
            "on two stages. Valid: pp=1, or --set tied_embeddings=false."
        )
    if plan.schedule == "1f1b" and (count < plan.pp or (plan.vpp > 1 and count % plan.pp)):
        needed = f"a multiple of {plan.pp}" if plan.vpp > 1 else f"at least {plan.pp}"
        nearest = max(1, math.ceil(count / plan.pp)) * plan.pp * plan.dp * plan.micro_batch
        yield (
            f"{count} microbatches are too few for schedule=1f1b with pp={plan.pp}, vpp={plan.vpp}: "
            f"PyTorch's needs {needed}. Nearest: batch_seqs={nearest}."
        )


def _model(training: Training) -> Iterator[str]:
    model = training.model
    if model.num_mtp_layers:
        yield f"num_mtp_layers={model.num_mtp_layers} is not run here. Valid: --set num_mtp_layers=0."
    yield from _one_of("norms_per_layer", model.norms_per_layer, _NORMS)
    if model.norms_per_layer == 1 and not model.parallel_attention:
        yield "norms_per_layer=1 needs parallel_attention: attention and MLP share the norm. Valid: 2, 4."
    if model.num_positions and training.seq_len > model.num_positions:
        yield f"seq_len={training.seq_len} is more than the {model.num_positions} positions of {model.name}."
    if model.position == "learned" and not model.num_positions:
        yield f"position=learned needs num_positions, which {model.name} lacks. Valid: at least {training.seq_len}."
    turned = model.qk_rope_head_dim or model.head_dim
    if model.position == "rotary" and turned % 2:
        yield f"{'qk_rope_head_dim' if model.qk_rope_head_dim else 'head_dim'}={turned} must be even to be turned."
    yield from _head_norms(model)


def _head_norms(model: Transformer) -> Iterator[str]:
    if not model.qk_norm_dim:
        return
    if model.is_latent:
        yield f"qk_norm_dim={model.qk_norm_dim} does not go with latent attention. Valid: 0."
    together = {heads * model.head_dim for heads in (model.num_heads, model.num_kv_heads)}
    valid = {model.head_dim} if model.qk_norm_heads or len(together) > 1 else {model.head_dim, *together}
    yield from _one_of("qk_norm_dim", model.qk_norm_dim, sorted(valid))


def _tensor(plan: Plan, training: Training) -> Iterator[str]:
    model = training.model
    if plan.tp == 1:
        return
    for what, has in (
        ("a mixture of experts", model.is_moe),
        ("latent attention", model.is_latent),
        ("attention sinks", model.attention_sinks),
        ("compressed queries", model.q_lora_rank > 0),
        ("norms over all heads", model.qk_norm_heads or model.qk_norm_dim not in (0, model.head_dim)),
    ):
        if has:
            yield f"tp={plan.tp} is not run here for {what}, which {model.name} has. Valid: 1."
    for name in ("num_kv_heads", "num_positions", "d_model"):
        size = getattr(model, name)
        if size % plan.tp:
            valid = [n for n in range(1, size + 1) if size % n == 0 and model.num_heads % n == 0 and n < plan.tp]
            yield f"tp={plan.tp} does not divide {name}={size}. Nearest: {valid[-1]}."


def _context(plan: Plan, training: Training) -> Iterator[str]:
    model = training.model
    if plan.cp == 1:
        return
    windowed = model.num_sliding_layers and model.sliding_window < training.seq_len
    for what, has in (
        ("sliding windows", windowed),
        ("attention sinks", model.attention_sinks),
        (f"position={model.position}", model.position in ("learned", "alibi")),
    ):
        if has:
            yield f"cp={plan.cp} is not run here with {what}, which {model.name} has. Valid: 1."


def _one_of(name: str, value: object, valid: Sequence[object]) -> Iterator[str]:
    if value not in valid:
        yield f"{name}={value} is not run here. Valid: {', '.join(map(str, valid))}."
