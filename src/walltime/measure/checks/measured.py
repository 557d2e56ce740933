"""What was measured of a run: out of a log, out of traces, or out of a result of ``walltime measure train``."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from walltime.hardware import Cluster
from walltime.measure.checks.groups import signs_of_another_plan
from walltime.measure.logs import read_log, timing
from walltime.measure.records import StepParts, TrainResult
from walltime.measure.rows import result_from_json
from walltime.measure.trace import trace_report
from walltime.plan import Plan
from walltime.problems import BadInput, NegativeAnswer
from walltime.units import format_time
from walltime.validate.chips import is_another
from walltime.validate.rows import file_text
from walltime.workload import Training

MemoryKind = Literal["allocated", "reserved", "resident"]
MEMORY_KINDS: tuple[MemoryKind, ...] = ("allocated", "reserved", "resident")
"""What tensors took, what the allocator held, what the process of a CPU took: the first that is known is compared."""
_OFF = 0.05
"""Share by which profiled steps may differ from timed ones before it is said."""
_COMPARED = ("tp", "cp", "dp", "pp", "ep", "vpp", "micro_batch", "sharding", "recompute", "precision")


@dataclass(frozen=True)
class Measured:
    """A measurement of a run; what was not measured is None.

    Attributes
    ----------
    source
        Where it is from, in words.
    step_time_s
        [s]
    parts
        Of a step.
    memory_bytes, memory_kind
        Most that one accelerator held, and what is counted. [B]
    power_w
        Mean of an accelerator. [W]
    printed_flop_per_s_per_gpu, printed_utilization
        As a log prints them, by its own count of FLOP.
    notes
        What to mind, a line each.
    """

    source: str
    step_time_s: float
    parts: StepParts | None = None
    memory_bytes: float | None = None
    memory_kind: MemoryKind = "allocated"
    power_w: float | None = None
    printed_flop_per_s_per_gpu: float | None = None
    printed_utilization: float | None = None
    notes: tuple[str, ...] = ()


def from_log(path: Path, training: Training, num_gpus: int) -> Measured:
    """Return what a log says of a run.

    Raises
    ------
    BadInput
        It is no log, or one of another batch.
    """
    log = read_log(path)
    timed = timing(log, training.batch_seqs, training.seq_len, num_gpus)
    memory_bytes, kind = _memory({"allocated": log.allocated_bytes, "reserved": log.reserved_bytes})
    lines = f"median of {timed.num_lines} lines, {timed.num_left_out} of the warm-up left out"
    timers = ", ".join(f"{name} {time_s:.3g} s" for name, time_s in log.timers_s.items())
    return Measured(
        source=f"{path}, a log of {log.software}: {lines}",
        step_time_s=timed.step_time_s,
        memory_bytes=memory_bytes,
        memory_kind=kind,
        power_w=timed.power_w,
        printed_flop_per_s_per_gpu=timed.flop_per_s_per_gpu,
        printed_utilization=timed.utilization,
        notes=(f"timers of a step: {timers}",) if timers else (),
    )


def from_traces(paths: Sequence[Path], plan: Plan) -> Measured:
    """Return what traces show of a run: the mean of their ranks; of a pipeline the rank that computes longest.

    A pipeline is as fast as its busiest stage, and it is that stage whose parts are predicted.
    """
    report = trace_report(paths)
    busiest = plan.pp > 1 and len(report.ranks) > 1
    parts = report.straggler.mean if busiest else report.mean
    which = "the rank that computes longest of" if busiest else "mean of"
    ranks = f"{len(report.ranks)} {'ranks' if len(report.ranks) > 1 else 'rank'}"
    steps = f"{parts.num_steps} {'steps' if parts.num_steps > 1 else 'step'}"
    missing = len(report.ranks) < plan.num_gpus
    few = [f"traces of {len(report.ranks)} of the plan's {plan.num_gpus} ranks"] if missing else []
    notes = (*report.notes, *few, *signs_of_another_plan(report.mean, plan))
    return Measured(f"traces: {which} {ranks}, {steps}", parts.step_s, parts, notes=notes)


def from_result(path: Path, training: Training, plan: Plan, cluster: Cluster) -> Measured:
    """Return what ``walltime measure train --result`` wrote of a run.

    Raises
    ------
    BadInput
        It is no such file, or one of another run or of another device than the cluster's.
    NegativeAnswer
        The run was out of memory.
    """
    try:
        document = json.loads(file_text(path))
    except (ValueError, RecursionError) as error:
        raise BadInput(
            f"{path}: not valid JSON: {error}. Valid: the file of walltime measure train --result."
        ) from None
    try:
        result = result_from_json(document)
    except BadInput as refused:
        raise BadInput(f"{path}: {refused}") from None
    _check_run(path, result, training, plan)
    is_cpu = result.environment.get("device_kind") == "cpu"
    if result.device and is_another(result.device, cluster.accelerator.id, is_cpu=is_cpu):
        raise BadInput(
            f"{path}: a run on {result.device}, and the plan's cluster is {cluster.id}. Valid: --on a calibration of "
            f"that machine."
        )
    return of_result(result, str(path))


def of_result(result: TrainResult, source: str) -> Measured:
    """Return a result of training as a measurement.

    Raises
    ------
    NegativeAnswer
        The run was out of memory.
    """
    if result.status == "oom":
        raise NegativeAnswer(f"the run was out of memory, there is no step to compare: {result.message or source}")
    if not result.step_times_s:
        raise BadInput(f"{source}: no step was timed. Valid: a result with --steps of 1 or more.")
    step_time_s = statistics.median(result.step_times_s)
    memory_bytes, kind = _memory(result.memory_bytes)
    return Measured(
        source=f"{source}: median of {len(result.step_times_s)} steps",
        step_time_s=step_time_s,
        parts=result.parts,
        memory_bytes=memory_bytes,
        memory_kind=kind,
        power_w=result.power.mean_w if result.power else None,
        notes=tuple(_profiled(result.parts, step_time_s)),
    )


def _profiled(parts: StepParts | None, step_time_s: float) -> list[str]:
    if parts is None or abs(parts.step_s / step_time_s - 1) <= _OFF:
        return []
    times = f"{format_time(parts.step_s)}, timed ones {format_time(step_time_s)}"
    return [f"profiled steps took {times}: the parts are those of profiled ones"]


def _memory(known: Mapping[str, float | None]) -> tuple[float | None, MemoryKind]:
    """Return the first kind of memory that is known."""
    return next(((size, kind) for kind in MEMORY_KINDS if (size := known.get(kind))), (None, "allocated"))


def _check_run(path: Path, result: TrainResult, training: Training, plan: Plan) -> None:
    """Refuse a result of another run than the one that is predicted."""
    there = result.request
    asked: dict[str, Any] = {name: getattr(plan, name) for name in _COMPARED}
    ran: dict[str, Any] = {name: getattr(there.plan, name) for name in _COMPARED}
    for other, mine in ((ran, there.training), (asked, training)):
        other |= {"seq_len": mine.seq_len, "batch": mine.batch_seqs}
        other |= {f.name: getattr(mine.model, f.name) for f in fields(mine.model) if f.name != "name"}
    for name, value in asked.items():
        if ran[name] != value:
            raise BadInput(f"{path}: a run with {name}={ran[name]}, and the plan has {name}={value}. Valid: one run.")
