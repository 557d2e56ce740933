"""The timed window and the profiled steps after it."""

import gc
import itertools
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.profiler import ProfilerActivity, profile, schedule

from walltime.measure.devices import Device
from walltime.measure.records import PowerReading
from walltime.measure.training.batches import Batch
from walltime.measure.training.trainer import Trainer

_SILENT = "99"  # above all levels of the profiler's library, which else says on standard error when it starts and stops


@dataclass(frozen=True)
class Window:
    """What the timed steps took: the slowest rank's time of each [s], and its mean loss over all ranks. [nat]"""

    step_times_s: tuple[float, ...]
    losses: tuple[float, ...]


@contextmanager
def settled() -> Iterator[None]:
    """Leave what is there already out of Python's garbage collection, which else stops a rank, and so all, at times."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def timed(trainer: Trainer, batches: Sequence[Batch], device: Device) -> Window:
    """Run steps one after another and time each, on a GPU by events, so that nothing waits for the clock.

    All ranks begin together; after that, nothing but the plan's own communication keeps them in step.
    """
    _together()
    marks, losses = [_mark(device)], []
    for batch in batches:
        losses.append(trainer.step(batch))
        marks.append(_mark(device))
    if device.kind == "cuda":
        torch.cuda.synchronize(device.index)
    times_s = [_seconds(start, end) for start, end in itertools.pairwise(marks)]
    return Window(_slowest(times_s, device), _mean_losses(trainer, losses, device))


def _mark(device: Device) -> Any:
    if device.kind == "cpu":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _seconds(start: Any, end: Any) -> float:
    return end - start if isinstance(start, float) else start.elapsed_time(end) / 1e3


def _slowest(times_s: Sequence[float], device: Device) -> tuple[float, ...]:
    return _reduced(times_s, device, distributed.ReduceOp.MAX)


def _mean_losses(trainer: Trainer, losses: Sequence[Any], device: Device) -> tuple[float, ...]:
    """Return the mean over the ranks that compute the loss: those of the last stage."""
    own = [float(loss) * trainer.is_last_stage for loss in losses]
    *sums, count = _reduced([*own, float(trainer.is_last_stage)], device, distributed.ReduceOp.SUM)
    return tuple(total / count for total in sums)


def _reduced(values: Sequence[float], device: Device, operation: Any) -> tuple[float, ...]:
    if not distributed.is_initialized():
        return tuple(values)
    tensor = torch.tensor(values, dtype=torch.float64, device=device.torch_name)
    distributed.all_reduce(tensor, operation)
    return tuple(tensor.tolist())


def _together() -> None:
    if distributed.is_initialized():
        distributed.barrier()


def profiled(trainer: Trainer, batches: Sequence[Batch], device: Device, trace: Path) -> None:
    """Run steps under PyTorch's profiler, the first one only to warm it up, and save their trace."""
    os.environ.setdefault("KINETO_LOG_LEVEL", _SILENT)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.kind == "cuda" else [])]
    plan = schedule(wait=0, warmup=1, active=len(batches) - 1, repeat=1)
    _together()
    with profile(activities=activities, schedule=plan, on_trace_ready=lambda p: p.export_chrome_trace(str(trace))) as p:
        for batch in batches:
            trainer.step(batch)
            if device.kind == "cuda":
                torch.cuda.synchronize(device.index)
            p.step()


def gathered(value: Any) -> list[Any]:
    """Return every rank's value, in every rank."""
    if not distributed.is_initialized():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def mean_power(readings: Sequence[PowerReading | None]) -> PowerReading | None:
    """Return the mean accelerator's power and energy; None unless every rank measured its own."""
    known = [reading for reading in readings if reading is not None]
    if not known or len(known) < len(readings):
        return None
    energies_j = [reading.energy_j for reading in known if reading.energy_j is not None]
    energy_j = _mean(energies_j) if len(energies_j) == len(known) else None
    return PowerReading(_mean([reading.mean_w for reading in known]), min(r.num_samples for r in known), energy_j)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
