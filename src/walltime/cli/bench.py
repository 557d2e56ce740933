"""``walltime bench``: how fast is this build?"""

import cProfile
import pstats
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from walltime.cli.common import emit_json, json_option
from walltime.engines import Assumptions, matmul_device, step_terms, transformer
from walltime.engines.calibration import calibration
from walltime.engines.stack import stack
from walltime.hardware import cluster
from walltime.limits import RunFamily, frontier
from walltime.physics.matmul import mlp_layer_matmul_time_s
from walltime.plan import DEGREES, MlpPlanBatch, PlanBatch
from walltime.planner import Answer, Question, recommend
from walltime.problems import NegativeAnswer
from walltime.report.terminal import table
from walltime.search.executors import available_cores, workers
from walltime.studies.erdil2024 import CurveKey, Study, question, study_curves
from walltime.workload import Training
from walltime.workload.catalog import transformer as catalog_transformer

_BLOCK = 4096
_BLOCKS = 100
_TRANSFORMER_BLOCK = 8192
_TRANSFORMER_BLOCKS = 12
_GPUS = 16384
_ONE_ESTIMATE = ("estimate", "llama-3.1-405b", "--on", f"{_GPUS}xh100-sxm", "--tp", "8", "--pp", "16", "--cp", "2")
_ONE_BATCH = ("--seq-len", "8192", "--batch", "2048")


@click.command("bench", short_help="How fast is this build?")
@json_option
def command(as_json: bool) -> None:
    """How fast is this build, and what limits it?

    Computes the 19 curves of the paper's studies (a curve that several studies show once), single curves, the
    theory's engine on random plans, the transformer engine on random plans of Llama 3.1 405B (time and memory), one
    estimate from the command line, process start included, and searches for the best plan of four models.
    Figures are seconds on this machine now; compare builds in one run on one machine.
    """
    start_up_cpu_s = time.process_time()
    result: dict[str, Any] = {"cores": available_cores(), "start_up_cpu_s": round(start_up_cpu_s, 3)}
    result |= _study()
    h100 = CurveKey("h100-sxm")
    result["erdil_h100_dense_curve_cpu_s"] = _best_of(3, lambda: frontier(question(h100, "as_published")))
    started = time.perf_counter()
    frontier(question(h100, "corrected"))
    result["erdil_corrected_full_curve_s"] = time.perf_counter() - started
    result |= _engine()
    result |= _transformer_engine()
    result["transformer_estimate_cli_s"] = _estimate_cli_s()
    result |= _search()
    result["erdil_study_limited_by"] = _shares(lambda: frontier(question(h100, "as_published")))
    if as_json:
        emit_json("bench", {}, result, [])
        return
    rows = [[name, _shown(value)] for name, value in result.items()]
    click.echo(table(["measure", "value"], rows, left=2))


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {share:.0%}" for name, share in value.items())
    return f"{value:,.0f}" if isinstance(value, int | float) and value >= 1000 else f"{value:.3g}"


def _study() -> dict[str, Any]:
    """Time all curves of the study together, as `walltime reproduce` computes them."""
    curves = study_curves()
    started = time.perf_counter()
    with workers() as executor:
        study = Study("as_published", executor)
        study.compute(curves)
    elapsed = time.perf_counter() - started
    runs = sum(len(study.frontier(key).runs) for key in curves)
    return {
        "erdil_study_s": elapsed,
        "erdil_study_curves": len(curves),
        "erdil_study_distinct_curves": len(set(curves)),
        "erdil_study_runs": runs,
    }


def _best_of(times: int, call: Callable[[], object]) -> float:
    """Return the CPU seconds of the fastest of a few calls."""
    spent = []
    for _ in range(times):
        started = time.process_time()
        call()
        spent.append(time.process_time() - started)
    return min(spent)


def _engine() -> dict[str, Any]:
    """Time the engine on one core, all terms of every plan, and how much of it is matmuls."""
    on, reading = cluster("h100-sxm", parameters="Erdil2024"), Assumptions()
    device, model, plans = matmul_device(on.accelerator, reading), RunFamily().model(53248), _random_plans()
    shards = (np.floor(model.d_ff / plans.total("tp_ff")), np.floor(model.d_model / plans.total("tp_model")))
    tokens = np.floor(model.batch_tokens / (plans.total("dp") * plans.num_microbatches))

    def whole() -> None:
        for _ in range(_BLOCKS):
            step_terms(model, device, on.network, plans).step_s(plans.schedule, reading)

    def matmuls() -> None:
        for _ in range(_BLOCKS):
            mlp_layer_matmul_time_s(device, *shards, tokens)

    whole()
    engine_s, matmul_s = _best_of(3, whole), _best_of(3, matmuls)
    matmul_share = matmul_s / engine_s
    return {
        "erdil_plans_per_s": _BLOCK * _BLOCKS / engine_s,
        "erdil_plans_limited_by": {"matmul model": matmul_share, "network, pipeline and sums": 1 - matmul_share},
    }


def _random_plans() -> MlpPlanBatch:
    """Return plans with random powers of two on two levels, all different in shape."""
    rng = np.random.default_rng(0)
    degrees: dict[str, Any] = {name: np.asfortranarray(2.0 ** rng.integers(0, 6, (_BLOCK, 2))) for name in DEGREES}
    degrees["ep"][:] = 1
    microbatches = 2.0 ** rng.integers(3, 12, _BLOCK)
    return MlpPlanBatch(**degrees, num_microbatches=microbatches, interleave=np.ones(_BLOCK))


def _transformer_engine() -> dict[str, Any]:
    """Time the transformer engine on one core: step, bounds and memory of every plan."""
    on, software = cluster("h100-sxm", _GPUS), stack("megatron-core")
    training = Training(catalog_transformer("llama-3.1-405b"), 8192, 2**17)
    plans, numbers = _random_transformer_plans(), calibration(on, software.id)

    def whole() -> None:
        for _ in range(_TRANSFORMER_BLOCKS):
            result = transformer.estimate(training, on, plans, software, numbers=numbers)
            assert len(result.time_s) == len(result.fits) == len(plans)

    whole()
    return {"transformer_plans_per_s": _TRANSFORMER_BLOCK * _TRANSFORMER_BLOCKS / _best_of(3, whole)}


def _random_transformer_plans() -> PlanBatch:
    """Return plans with random powers of two that fill the cluster."""
    rng = np.random.default_rng(0)
    tp, cp, pp, vpp, micro_batch = (2.0 ** rng.integers(0, most, _TRANSFORMER_BLOCK) for most in (4, 3, 5, 3, 2))
    one, dp = np.ones(_TRANSFORMER_BLOCK), _GPUS / (tp * cp * pp)
    return PlanBatch(
        tp=tp,
        cp=cp,
        dp=dp,
        pp=pp,
        ep=one,
        etp=one,
        shard=dp,
        micro_batch=micro_batch,
        vpp=np.where(pp > 1, vpp, one),
        recompute_layers=one,
        recompute="selective",
    )


def _estimate_cli_s() -> float:
    """Return the seconds on the clock of one ``walltime estimate`` in a process of its own, the best of three."""
    program = (sys.executable, "-c", "from walltime.cli import main; main()")
    spent = []
    for _ in range(3):
        started = time.perf_counter()
        done = subprocess.run([*program, *_ONE_ESTIMATE, *_ONE_BATCH], capture_output=True, check=False)
        spent.append(time.perf_counter() - started)
        assert done.returncode in (0, NegativeAnswer.exit_code), done.stderr
    return min(spent)


_SEARCHES = {
    "405b": ("llama-3.1-405b", "h100-sxm", _GPUS, 8192, 2048),
    "gpt3_175b": ("gpt3-175b", "a100-sxm-80gb", 4096, 2048, 4096),
    "deepseek_v3": ("deepseek-v3", "h800", 2048, 4096, 15360),
    "7b": ("llama-2-7b", "h100-sxm", 8, 4096, 512),
}
_PEAK_OF_SEARCH = """
import resource, sys
from walltime.cli.bench import search_once
search_once(sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def search_once(name: str) -> Answer:
    """Search for the best plan of one of the models that are timed."""
    model, chip, num_gpus, seq_len, batch_seqs = _SEARCHES[name]
    training = Training(catalog_transformer(model), seq_len, batch_seqs)
    return recommend(Question(training, (cluster(chip, num_gpus),), stack("megatron-core")))


def _search() -> dict[str, Any]:
    """Time searches on the clock, and measure the memory of the whole process that does the largest."""
    result: dict[str, Any] = {}
    for name in _SEARCHES:
        spent = []
        for _ in range(3):
            started = time.perf_counter()
            answer = search_once(name)
            spent.append(time.perf_counter() - started)
        result[f"search_{name}_s"] = min(spent)
        result["search_plans_considered" if name == "405b" else f"search_{name}_plans"] = answer.counts.considered
    peaks = []
    for name in ("405b", "deepseek_v3"):
        program = (sys.executable, "-c", _PEAK_OF_SEARCH, name)
        done = subprocess.run(program, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) * (1 if sys.platform == "darwin" else 1024))
    return result | {"search_peak_bytes": max(peaks)}


def _shares(call: Callable[[], object]) -> dict[str, float]:
    """Return the share of time spent in each room of the library, NumPy's own time counted with its caller."""
    profile = cProfile.Profile()
    profile.runcall(call)
    spent: Counter[str] = Counter()
    stats: Any = pstats.Stats(profile)
    for (file, _, _), (_, _, own_s, _, callers) in stats.stats.items():
        if "walltime" in file:
            spent[_room(file)] += own_s
        else:
            for (caller, _, _), caller_stats in callers.items():
                spent[_room(caller)] += caller_stats[2]
    total = sum(spent.values())
    return {room: own_s / total for room, own_s in spent.most_common(6)}


def _room(file: str) -> str:
    path = Path(file)
    return f"{path.parent.name}/{path.stem}" if "walltime" in path.parts else "numpy and python"
