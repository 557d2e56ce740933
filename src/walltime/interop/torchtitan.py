"""torchtitan: a Python module with a function that returns the trainer's configuration."""

from walltime.interop.header import header_lines
from walltime.interop.launch import bash_script, continued, nodes_of, sbatch_lines, torchrun
from walltime.interop.layer_layout import layers_of_chunks
from walltime.interop.quoting import Code, call_text, commented
from walltime.interop.refusal import order_of, refusal
from walltime.interop.run import Run
from walltime.interop.torchtitan_models import Flavor, flavor_of
from walltime.plan import GROUPS, Plan, num_microbatches

NAME = "torchtitan"
CHECKED = "torchtitan 0.3.0"
STEPS = 100
"""Steps that an exported run takes: enough to compare with the prediction."""
_MODULE = "walltime_run"
_FUNCTION = "train_config"
_SCHEDULES = {"1f1b": "1F1B", "gpipe": "GPipe", "zb-v": "ZBVZeroBubble"}
_REPLICATED = {"ddp": 1}
_CONVERTERS = {
    "fp8": ("Float8LinearConverter", "Float8GroupedExpertsConverter"),
    "mxfp8": ("MXFP8LinearConverter", "MXFP8GroupedExpertsConverter"),
    "nvfp4": ("NVFP4LinearConverter", ""),
}
_RECOMPUTES = {"none": "None", "selective": "SelectiveAC.Config()", "full": "FullAC.Config()"}
_PARTS = '''\
def parts(layers: list[int]) -> list[list[str]]:
    """Modules of each model chunk: so many layers, the embedding in the first, norm and output layer in the last."""
    ends = list(itertools.accumulate(layers))
    names = [[f"layers.{i}" for i in range(end - count, end)] for count, end in zip(layers, ends, strict=True)]
    return [["tok_embeddings", *names[0]], *names[1:-1], [*names[-1], "norm", "lm_head"]]'''


def torchtitan_files(run: Run, *, slurm: bool) -> dict[str, str]:
    """Return the module, and the batch script if Slurm starts it, by their names.

    Raises
    ------
    NegativeAnswer
        torchtitan does not have the model, or cannot express the plan.
    """
    flavor = flavor_of(run.training.model)
    _check(run)
    more = ("--slurm",) if slurm else ()
    header = header_lines(run, "torchtitan", *more, checked=CHECKED)
    if run.plan.precision == "fp8":
        header.append("fp8 is scaled by row here, and by tensor in the prediction.")
    nodes = nodes_of(run.cluster, run.plan.num_gpus)
    program = f"-m torchtitan.train --module {_MODULE} --config {_FUNCTION}"
    started = [
        "To start it, in this folder, with torchtitan installed:",
        f"  PYTHONPATH=. {' '.join([*torchrun(nodes, slurm=False), program])}",
    ]
    files = {f"{_MODULE}.py": commented([*header, *([] if slurm else started)]) + _module(run, flavor)}
    if slurm:
        body = ['export PYTHONPATH="$PWD"', continued([*torchrun(nodes, slurm=True), f'{program} "$@"'])]
        directives = sbatch_lines(run.training.model.name, nodes)
        files["torchtitan.sbatch"] = bash_script(commented(header), directives, body)
    return files


def _check(run: Run) -> None:
    """Refuse by the rules of `CHECKED`: the catalog's stacks of torchtitan are of older releases."""
    plan, model = run.plan, run.training.model
    if plan.sharding not in ("zero3", "ddp"):
        raise refusal(NAME, "sharding", plan.sharding, "it shards with FSDP2, parameters too", "zero3, ddp")
    if plan.sharding == "ddp" and plan.cp > 1:
        raise refusal(NAME, "sharding", plan.sharding, "context-parallel ranks shard parameters", "zero3")
    if order_of(run, GROUPS) is None:
        raise refusal(NAME, "order", ",".join(plan.order), "its device mesh has one order", ",".join(GROUPS))
    if plan.cp > 1 and plan.cp_algorithm != "ring":
        raise refusal(NAME, "cp_algorithm", plan.cp_algorithm, "it exchanges keys and values", "ring")
    if plan.precision not in ("bf16", *_CONVERTERS):
        raise refusal(NAME, "precision", plan.precision, "it has no such training", ", ".join(["bf16", *_CONVERTERS]))
    if plan.precision == "nvfp4" and model.is_moe:
        raise refusal(NAME, "precision", plan.precision, "its experts have no such format", "bf16, fp8, mxfp8")
    if plan.offload_optimizer:
        raise refusal(NAME, "offload_optimizer", True, "it offloads parameters and gradients with it", "false")
    if plan.gradient_bytes == 2:
        raise refusal(NAME, "gradient_bytes", 2, "it reduces gradients in fp32", 4)
    if plan.recompute == "full" and 0 < plan.recompute_layers < 1:
        raise refusal(NAME, "recompute_layers", f"{plan.recompute_layers:g}", "it recomputes all layers or none", 1)
    pieces = (plan.tp if plan.sequence_parallel else 1) * (2 * plan.cp if plan.cp > 1 else 1)
    if run.training.seq_len % pieces:
        raise refusal(NAME, "seq_len", run.training.seq_len, "ranks share it out", f"a multiple of {pieces}")
    _check_experts(plan)
    _check_pipeline(run)


def _check_experts(plan: Plan) -> None:
    """Experts are either spread over ``ep`` ranks or split over all of ``tp``; hybrid shards hold whole groups."""
    if plan.ep > 1 and plan.etp > 1:
        raise refusal(NAME, "etp", plan.etp, "experts that are spread are not split", 1)
    ranks = _shards(plan) * plan.cp * plan.tp
    if ranks % plan.ep:
        raise refusal(NAME, "ep", plan.ep, f"it lies inside the {ranks} ranks that share one shard", f"one of {ranks}")


def _check_pipeline(run: Run) -> None:
    plan, model = run.plan, run.training.model
    if plan.pp == 1:
        return
    if plan.schedule not in _SCHEDULES:
        raise refusal(NAME, "schedule", plan.schedule, "it has no such schedule", ", ".join(_SCHEDULES))
    if model.num_mtp_layers:
        raise refusal(NAME, "pp", plan.pp, "multi-token prediction does not go with a pipeline", 1)
    count, chunks = num_microbatches(plan, run.training), _chunks(plan)
    if chunks == 1 and count < plan.pp:
        raise refusal(NAME, "number of microbatches", count, "its schedules keep stages full", f"{plan.pp} or more")
    rounds = max(1, count // plan.pp)
    if plan.vpp > 1 and count % rounds:
        raise refusal(NAME, "number of microbatches", count, f"{rounds} equal rounds", f"{rounds * (count // rounds)}")
    layers = layers_of_chunks(model.num_layers, plan.pp, chunks)
    if not all(layers[1:-1]):
        raise refusal(NAME, "pp", plan.pp, "a stage would have no layer", f"{model.num_layers} or less")


def _chunks(plan: Plan) -> int:
    """Model chunks a stage: a V-shaped schedule has two."""
    return 2 if plan.schedule == "zb-v" else plan.vpp


def _shards(plan: Plan) -> int:
    return _REPLICATED.get(plan.sharding, plan.shard or plan.dp)


# The module


def _module(run: Run, flavor: Flavor) -> str:
    low = run.plan.precision in _CONVERTERS
    names = _converter_names(run)
    imports = [
        "from torchtitan.components.loss import ChunkedLossWrapper, CrossEntropyLoss",
        "from torchtitan.components.metrics import MetricsProcessor",
        "from torchtitan.components.optimizer import default_adamw",
        *([f"from torchtitan.components.quantization import {', '.join(names)}"] if low else []),
        "from torchtitan.config import CompileConfig, ParallelismConfig, TrainingConfig",
        *_recompute_import(run.plan),
        "from torchtitan.hf_datasets.text_datasets import HuggingFaceTextDataLoader",
        f"from torchtitan.models.{flavor.module} import model_registry",
        "from torchtitan.models.common.config_utils import decoder_vocab_size",
        *(["from torchtitan.models.deepseek_v3.mtp import MTPLoss"] if run.training.model.num_mtp_layers else []),
        "from torchtitan.trainer import Trainer",
    ]
    body = [
        f"    model_spec = {_indented(_model_spec(run, flavor))}",
        f"    return {_indented(_trainer(run))}",
    ]
    first, helper = (["import itertools", ""], ["", "", _PARTS]) if run.plan.pp > 1 else ([], [])
    lines = [*first, *sorted(imports), *helper, "", "", f"def {_FUNCTION}() -> Trainer.Config:", *body]
    return "\n".join(lines) + "\n"


def _indented(text: str) -> str:
    return text.replace("\n", "\n    ")


def _recompute_import(plan: Plan) -> list[str]:
    name = {"selective": "SelectiveAC", "full": "FullAC"}.get(_recompute(plan))
    return [f"from torchtitan.distributed.activation_checkpoint import {name}"] if name else []


def _recompute(plan: Plan) -> str:
    return "none" if plan.recompute == "full" and plan.recompute_layers == 0 else plan.recompute


def _converter_names(run: Run) -> list[str]:
    linear, experts = _CONVERTERS.get(run.plan.precision, ("", ""))
    return [name for name in (linear, experts if run.training.model.is_moe else "") if name]


def _model_spec(run: Run, flavor: Flavor) -> str:
    """The model, its linear layers in low precision if the plan asks for it; embedding, router and output stay."""
    low = {
        "Float8LinearConverter": {"filter_fqns": ["lm_head", *(["router.gate"] if run.training.model.is_moe else [])]},
        "MXFP8LinearConverter": {"fqns": ["attention", "feed_forward", "shared_experts"]},
        "NVFP4LinearConverter": {"fqns": ["layers"]},
    }
    converters = [
        Code(call_text(f"{name}.Config", low.get(name, {}) | {"model_compile_enabled": True}))
        for name in _converter_names(run)
    ]
    more = {"num_mtp_layers": run.training.model.num_mtp_layers} if run.training.model.num_mtp_layers else {}
    return call_text("model_registry", {**more, **({"converters": converters} if converters else {})}, flavor.name)


def _trainer(run: Run) -> str:
    compiled = run.stack.compiled or run.plan.precision in _CONVERTERS
    overlapped = compiled and run.stack.overlap_tp and run.plan.tp > 1
    vocabulary = {"global_vocab_size": Code("decoder_vocab_size(model_spec)")}
    loss = Code(call_text("CrossEntropyLoss.Config", vocabulary))
    return call_text(
        "Trainer.Config",
        {
            "model_spec": Code("model_spec"),
            "loss": Code(
                call_text("MTPLoss.Config", vocabulary)
                if run.training.model.num_mtp_layers
                else call_text("ChunkedLossWrapper.Config", {"loss_fn": loss})
            ),
            "parallelism": Code(_parallelism(run)),
            "training": Code(_training(run)),
            "activation_checkpoint": Code(_RECOMPUTES[_recompute(run.plan)]),
            "compile": Code(
                call_text(
                    "CompileConfig",
                    {"enable": compiled, **({"enable_async_tensor_parallel": True} if overlapped else {})},
                )
            ),
            "metrics": Code(call_text("MetricsProcessor.Config", {"log_freq": 1})),
            "#": "Not from walltime: a trial on torchtitan's own test data. Put yours, and your optimizer, here.",
            "optimizer": Code(call_text("default_adamw", {"lr": 1e-5})),
            "dataloader": Code(call_text("HuggingFaceTextDataLoader.Config", {"dataset": "c4_test"})),
            "hf_assets_path": "./tests/assets/tokenizer",
        },
    )


def _parallelism(run: Run) -> str:
    plan = run.plan
    shards = _shards(plan)
    values: dict[str, object] = {
        "data_parallel_replicate_degree": plan.dp // shards,
        "data_parallel_shard_degree": shards,
        "fsdp_reshard_after_forward": "always" if plan.reshard else "never",
        "tensor_parallel_degree": plan.tp,
        "enable_sequence_parallel": plan.sequence_parallel,
        "context_parallel_degree": plan.cp,
        "pipeline_parallel_degree": plan.pp,
        "expert_parallel_degree": plan.ep,
    }
    if plan.cp > 1:
        values["context_parallel_load_balancer"] = "ptrr"  # for attention by FlexAttention, their default
    if plan.pp > 1:
        interleaved = plan.schedule == "1f1b" and plan.vpp > 1
        values["pipeline_parallel_schedule"] = "Interleaved1F1B" if interleaved else _SCHEDULES[plan.schedule]
        values["pipeline_parallel_microbatch_size"] = plan.micro_batch
        layers = layers_of_chunks(run.training.model.num_layers, plan.pp, _chunks(plan))
        values["module_fqns_per_model_part"] = Code(f"parts({list(layers)})")
    return call_text("ParallelismConfig", values)


def _training(run: Run) -> str:
    """Without a pipeline, a step adds up gradients of batches of one microbatch."""
    plan, training = run.plan, run.training
    local = training.batch_seqs // plan.dp if plan.pp > 1 else plan.micro_batch
    return call_text(
        "TrainingConfig",
        {
            "local_batch_size": local,
            "global_batch_size": training.batch_seqs,
            "seq_len": training.seq_len,
            "steps": STEPS,
            "mixed_precision_param": "bfloat16",
            "mixed_precision_reduce": "float32",
            "disable_cuda_graphs": True,
        },
    )
