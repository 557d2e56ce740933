"""Random runs of catalog models that a target can express, the same ones every time."""

import functools
import random
from dataclasses import dataclass

from walltime import hardware
from walltime.catalog.stacks import stack_ids
from walltime.engines.compatibility import check_stack
from walltime.engines.stack import stack
from walltime.interop.run import Run
from walltime.interop.targets import export_files
from walltime.interop.torchtitan_models import FLAVORS
from walltime.plan import (
    CONTEXT_ALGORITHMS,
    GROUPS,
    PIPELINE_SCHEDULES,
    PRECISIONS,
    RECOMPUTES,
    SHARDINGS,
    Plan,
    check_plan,
)
from walltime.problems import BadInput, NegativeAnswer
from walltime.workload import Training
from walltime.workload.catalog import transformer

MODELS_OF = {"torchtitan": (*FLAVORS, "llama-2-7b")}
"""What a target has, where that is little."""
MODELS = (
    *("llama-2-7b", "llama-3.1-8b", "llama-3.1-70b", "llama-3.1-405b", "gpt3-175b", "nemotron-4-340b", "qwen3-32b"),
    *("mixtral-8x7b", "qwen3-30b-a3b", "qwen3-235b-a22b", "deepseek-v2-lite", "deepseek-v3", "gpt-oss-120b"),
    *("gemma-2-9b", "falcon-40b", "bloom-1b1", "opt-1.3b", "qwen2.5-7b", "grok-1"),
)
CLUSTERS = ("h100-sxm", "b200", "gb200-nvl72")
ORDERS = (GROUPS, GROUPS, GROUPS, ("tp", "cp", "ep", "pp", "dp"), ("pp", "tp", "cp", "ep", "dp"))


@dataclass(frozen=True)
class Exported:
    """A run and its files."""

    run: Run
    files: dict[str, str]

    @property
    def main(self):
        return next(iter(self.files.values()))


@functools.cache
def exported(target, count=200, seed=4, *, slurm=False):
    """The first ``count`` random runs that a target can express, and how many it refused on the way."""
    numbers, found, refused = random.Random(seed), [], 0
    while len(found) < count:
        run = _run(numbers, MODELS_OF.get(target, MODELS))
        if run is None:
            continue
        try:
            found.append(Exported(run, export_files(run, target, slurm=slurm)))
        except NegativeAnswer:
            refused += 1
        except BadInput:
            continue  # a number format that the accelerator lacks
    return found, refused


def _run(numbers, models):
    """A random run, or None where the numbers do not divide; usual choices come up more often than others."""
    pick = numbers.choice
    model = transformer(pick(models))
    tp, cp, pp, dp = pick((1, 2, 4, 8)), pick((1, 1, 2, 4)), pick((1, 1, 2, 4, 8, 16, 3)), pick((1, 2, 4, 8, 16, 64))
    micro_batch, rounds = pick((1, 1, 2, 4)), pick((1, 1, 2, 3))
    plan = Plan(
        tp=tp,
        cp=cp,
        pp=pp,
        dp=dp,
        ep=pick((1, 2, 4, 8)) if model.is_moe else 1,
        etp=pick((1, 1, tp)) if model.is_moe else 1,
        shard=pick((0, 0, 0, 2, 4)),
        vpp=pick((1, 1, 2, 4)) if pp > 1 else 1,
        micro_batch=micro_batch,
        schedule=pick(("1f1b", "1f1b", "1f1b", *PIPELINE_SCHEDULES)),
        sharding=pick(("zero1", "zero3", *SHARDINGS)),
        recompute=pick(RECOMPUTES),
        recompute_layers=pick((1.0, 1.0, 0.5, 0.25)),
        precision=pick(("bf16", "bf16", *PRECISIONS)),
        cp_algorithm=pick(CONTEXT_ALGORITHMS),
        sequence_parallel=pick((True, True, False)),
        reshard=pick((True, True, False)),
        offload_optimizer=pick((False, False, False, True)),
        gradient_bytes=pick((0, 0, 2, 4)),
        order=pick(ORDERS),
    )
    training = Training(model, pick((2048, 4096, 8192)), dp * micro_batch * max(pp, 1) * rounds)
    cluster = hardware.cluster(pick(CLUSTERS)).with_num_gpus(plan.num_gpus)
    software = stack(pick(("generic", "generic", "generic", *stack_ids())))
    try:
        check_plan(plan, training, cluster)
        check_stack(plan, training, software)
    except BadInput:
        return None
    return Run(model.name, training, cluster, plan, software)
