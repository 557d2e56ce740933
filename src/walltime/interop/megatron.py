"""Megatron-LM: a bash script that starts ``pretrain_gpt.py``."""

from typing import Any

from walltime.interop.header import header_lines
from walltime.interop.launch import array, bash_script, continued, nodes_of, sbatch_lines, torchrun
from walltime.interop.megatron_model import Flags, assumed, model_flags
from walltime.interop.megatron_plan import plan_flags, uses_fsdp
from walltime.interop.quoting import commented
from walltime.interop.run import Run

CHECKED = "megatron-core 0.19.2, whose parser is megatron/training/arguments.py"
STEPS = 100
"""Steps that an exported run takes: enough to compare with the prediction."""
_TRIAL: Flags = {
    "mock-data": True,
    "tokenizer-type": "NullTokenizer",
    "train-iters": STEPS,
    "lr": 1e-5,
    "lr-decay-style": "constant",
    "log-interval": 1,
    "log-throughput": True,
    "eval-interval": STEPS,
    "eval-iters": 0,
}


def megatron_files(run: Run, *, slurm: bool) -> dict[str, str]:
    """Return the script by its name.

    Raises
    ------
    NegativeAnswer
        Megatron-LM cannot express the model or the plan.
    """
    model = model_flags(run.training, run.stack, run.plan.tp)
    plan = plan_flags(run)
    more = ("--slurm",) if slurm else ()
    header = [*header_lines(run, "megatron", *more, checked=CHECKED), *assumed(run.training.model)]
    nodes = nodes_of(run.cluster, run.plan.num_gpus)
    body = [
        *_environment(run),
        "",
        *array("MODEL", lines(model)),
        *array("PLAN", lines(plan)),
        "# Not from walltime: a trial on made-up data. Put your data, tokenizer, optimizer and checkpoints here.",
        *array("TRAINING", lines(_TRIAL | {"vocab-size": run.training.model.vocab_size - 1})),
        "",
        continued(
            [
                *torchrun(nodes, slurm=slurm),
                '"${MEGATRON_PATH:-.}/pretrain_gpt.py"',
                '"${MODEL[@]}" "${PLAN[@]}" "${TRAINING[@]}" "$@"',
            ]
        ),
    ]
    directives = sbatch_lines(run.training.model.name, nodes) if slurm else []
    name = "megatron.sbatch" if slurm else "megatron.sh"
    return {name: bash_script(commented(header), directives, body)}


def lines(flags: Flags) -> list[list[str]]:
    """Return arguments as words, one list an argument."""
    return [[f"--{name}", *_values(value)] for name, value in flags.items()]


def _values(value: Any) -> list[str]:
    if value is True:
        return []
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def _environment(run: Run) -> list[str]:
    """One hardware queue keeps tensor- and context-parallel traffic in order; Megatron-FSDP needs several."""
    if uses_fsdp(run) or run.plan.tp * run.plan.cp == 1:
        return []
    return ["export CUDA_DEVICE_MAX_CONNECTIONS=1"]
