"""DeepSpeed: its JSON configuration, and what the training script has to do itself."""

import math
from typing import Any

from walltime.interop.header import header_lines
from walltime.interop.launch import Nodes, bash_script, continued, nodes_of, sbatch_lines, torchrun
from walltime.interop.quoting import COMMENT_KEY, commented, json_text
from walltime.interop.refusal import check_software, order_of, refusal
from walltime.interop.run import Run
from walltime.plan import GROUPS, SHARDINGS, num_microbatches

NAME = "DeepSpeed"
CHECKED = "deepspeed 0.19.8"
_STACK = "deepspeed"
_FILE = "deepspeed.json"


def deepspeed_files(run: Run, *, slurm: bool) -> dict[str, str]:
    """Return the configuration, and the batch script if Slurm starts it, by their names.

    The configuration starts with an object that DeepSpeed passes over: the prediction, and what its script has to do.

    Raises
    ------
    NegativeAnswer
        DeepSpeed cannot express the plan.
    """
    _check(run)
    nodes = nodes_of(run.cluster, run.plan.num_gpus)
    more = ("--slurm",) if slurm else ()
    header = header_lines(run, "deepspeed", *more, checked=CHECKED)
    comments = {"header": [*header, *([] if slurm else _started(nodes))], "script": script_values(run)}
    files = {_FILE: json_text({COMMENT_KEY: comments, **config_values(run)}) + "\n"}
    if slurm:
        program = '"${TRAIN_SCRIPT:?the script that calls deepspeed.initialize}"'
        command = continued([*torchrun(nodes, slurm=True), f'{program} --deepspeed --deepspeed_config {_FILE} "$@"'])
        directives = sbatch_lines(run.training.model.name, nodes)
        files["deepspeed.sbatch"] = bash_script(commented(header), directives, [command])
    return files


def _started(nodes: Nodes) -> list[str]:
    launcher = f"deepspeed --num_nodes {nodes.num_nodes} --num_gpus {nodes.per_node}"
    return ["To start it:", f"  {launcher} train.py --deepspeed --deepspeed_config {_FILE}"]


def config_values(run: Run) -> dict[str, Any]:
    """Return the configuration proper."""
    plan, software = run.plan, run.stack
    half = "fp16" if plan.precision == "fp16" else "bf16"
    kept, reduced = (plan.gradient_bytes or width for width in (software.gradient_bytes, software.reduce_bytes))
    values: dict[str, Any] = {
        "train_batch_size": run.training.batch_seqs,
        "train_micro_batch_size_per_gpu": plan.micro_batch,
        "gradient_accumulation_steps": num_microbatches(plan, run.training),
        "steps_per_print": 1,
        half: {"enabled": True},
        "data_types": {"grad_accum_dtype": _format(kept, half)},
        "communication_data_type": _format(reduced, half),
        "zero_optimization": _zero(run),
    }
    if plan.tp > 1 and plan.pp == 1:
        values["tensor_parallel"] = {"autotp_size": plan.tp}
    if plan.cp > 1:
        values["sequence_parallel_size"] = plan.cp
    if plan.ep > 1 and plan.pp == 1:
        values["expert_parallel"] = {"enabled": True, "autoep_size": plan.ep}
    if plan.pp > 1:
        interval = 1 if plan.recompute == "full" else 0
        values["pipeline"] = {"stages": plan.pp, "partition": "uniform", "activation_checkpoint_interval": interval}
    return values


def _format(width: float, half: str) -> str:
    return half if width == 2 else "fp32"


def _zero(run: Run) -> dict[str, Any]:
    plan = run.plan
    values: dict[str, Any] = {"stage": SHARDINGS.index(plan.sharding)}
    if plan.sharding != "ddp":
        values["overlap_comm"] = run.stack.overlap_dp
    if plan.offload_optimizer:
        values["offload_optimizer"] = {"device": "cpu"}
    return values


def script_values(run: Run) -> dict[str, Any]:
    """Return what no configuration of DeepSpeed says: the training script does it."""
    plan, training = run.plan, run.training
    values: dict[str, Any] = {
        "model": training.model.name,
        "seq_len": training.seq_len,
        "activation_checkpointing": "every layer" if plan.recompute == "full" else "none",
    }
    if plan.pp > 1:
        stages = math.ceil((training.model.num_layers + training.model.num_mtp_layers) / plan.pp)
        values |= {"pipeline_parallel_size": plan.pp, "layers_of_fullest_stage": stages}
        values |= {"tensor_parallel_size": plan.tp, "expert_parallel_size": plan.ep}
        values["sequence_parallel"] = plan.tp > 1 and plan.sequence_parallel
    if plan.cp > 1:
        values["sequence_parallel"] = "Ulysses"
    return values


def _check(run: Run) -> None:
    plan = run.plan
    if plan.precision not in ("bf16", "fp16"):
        raise refusal(NAME, "precision", plan.precision, "its configuration has no such format", "bf16, fp16")
    if plan.pp > 1 and plan.schedule != "1f1b":
        raise refusal(NAME, "schedule", plan.schedule, "its pipeline engine runs 1F1B", "1f1b")
    if 0 < plan.shard < plan.dp:
        why = "ZeRO shares out over all ranks, hpZ only a second copy of the parameters"
        raise refusal(NAME, "shard", plan.shard, why, f"{plan.dp}, all of them")
    if plan.sharding == "zero3" and not plan.reshard:
        raise refusal(NAME, "reshard", False, "ZeRO-3 drops parameters after use", "true")
    if plan.offload_optimizer and plan.sharding == "ddp":
        raise refusal(NAME, "offload_optimizer", True, "only ZeRO offloads", "sharding zero1, zero2, zero3")
    if plan.etp > 1:
        raise refusal(NAME, "etp", plan.etp, "its experts are not split", 1)
    if order_of(run, GROUPS) is None:
        raise refusal(NAME, "order", ",".join(plan.order), "its grid has one order", ",".join(GROUPS))
    _check_activations(run)
    check_software(NAME, _STACK, run)


def _check_activations(run: Run) -> None:
    plan = run.plan
    if plan.cp > 1 and plan.cp_algorithm != "all-to-all":
        raise refusal(NAME, "cp_algorithm", plan.cp_algorithm, "Ulysses exchanges heads", "all-to-all")
    if plan.cp > 1 and plan.pp > 1:
        raise refusal(NAME, "cp", plan.cp, "Ulysses does not go with its pipeline engine", 1)
    if plan.tp > 1 and plan.pp == 1 and plan.sequence_parallel:
        raise refusal(NAME, "sequence_parallel", True, "AutoTP does not split norms along the sequence", "false")
    if plan.recompute == "selective":
        raise refusal(NAME, "recompute", plan.recompute, "it recomputes whole layers", "none, full")
    if plan.recompute == "full" and plan.recompute_layers < 1:
        share = f"{plan.recompute_layers:g}"
        raise refusal(NAME, "recompute_layers", share, "its configuration recomputes all layers or none", 1)
