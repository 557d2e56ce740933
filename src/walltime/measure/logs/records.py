"""What a log says, whatever wrote it."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from walltime.problems import BadInput

NUM_WARMUP_STEPS = 10
"""Steps at the start that are not counted: they compile, allocate and warm up (spec 2.2)."""


@dataclass(frozen=True)
class LoggedStep:
    """A line of a log about a step, or about the steps since the line before; None where it does not say.

    Attributes
    ----------
    step
        Its number.
    step_time_s
        [s]
    samples_per_s
        Sequences that all accelerators train on in a second. [1/s]
    tokens_per_s_per_gpu
        [tokens/s]
    batch_seqs
        Sequences of the step.
    loss
        As printed.
    flop_per_s_per_gpu
        As printed, by the count of FLOP of the software that printed it. [FLOP/s]
    utilization
        As printed, likewise; a fraction.
    power_w
        Of an accelerator. [W]
    """

    step: int
    step_time_s: float | None = None
    samples_per_s: float | None = None
    tokens_per_s_per_gpu: float | None = None
    batch_seqs: float | None = None
    loss: float | None = None
    flop_per_s_per_gpu: float | None = None
    utilization: float | None = None
    power_w: float | None = None


@dataclass(frozen=True)
class Log:
    """What was read out of a log.

    Attributes
    ----------
    path
        The file.
    software
        What wrote it.
    steps
        Its lines about steps, in order of the steps.
    allocated_bytes, reserved_bytes
        Most memory that tensors took on one accelerator, and that the allocator held; None where it does not say. [B]
    timers_s
        Medians of the timers that it prints, by their names. [s]
    """

    path: Path
    software: str
    steps: tuple[LoggedStep, ...]
    allocated_bytes: float | None = None
    reserved_bytes: float | None = None
    timers_s: Mapping[str, float] = field(default_factory=dict)

    def steady(self, num_warmup_steps: int = NUM_WARMUP_STEPS) -> tuple[LoggedStep, ...]:
        """Return the lines after the first steps, and at least the later half of all lines."""
        first = self.steps[0].step + num_warmup_steps
        warm = sum(step.step < first for step in self.steps)
        return self.steps[min(warm, len(self.steps) // 2) :]


@dataclass(frozen=True)
class Timing:
    """The steps of a log in time.

    Attributes
    ----------
    step_time_s
        The median. [s]
    num_lines, num_left_out
        Lines that it is the median of, and those of the warm-up or of other batches.
    loss_first, loss_last
        Of these lines.
    flop_per_s_per_gpu, utilization, power_w
        Medians of what is printed.
    """

    step_time_s: float
    num_lines: int
    num_left_out: int
    loss_first: float | None = None
    loss_last: float | None = None
    flop_per_s_per_gpu: float | None = None
    utilization: float | None = None
    power_w: float | None = None


def timing(log: Log, batch_seqs: int, seq_len: int, num_gpus: int) -> Timing:
    """Return the time of a step by a log, of a run of a known size.

    Parameters
    ----------
    log
        What was read.
    batch_seqs, seq_len, num_gpus
        Of the run: where a log prints throughput alone, they make it a time.

    Raises
    ------
    BadInput
        The log is of another batch size, or no line says how long a step took.
    """
    _check_batch(log, batch_seqs)
    steady = [step for step in log.steady() if step.batch_seqs in (None, batch_seqs)]
    times = [_time_s(step, batch_seqs, batch_seqs * seq_len / num_gpus) for step in steady]
    known = [time_s for time_s in times if time_s is not None]
    if not known:
        raise BadInput(f"{log.path}: no line says how long a step took. Valid: a log with step times or throughput.")
    losses = [step.loss for step in steady if step.loss is not None]
    return Timing(
        step_time_s=statistics.median(known),
        num_lines=len(known),
        num_left_out=len(log.steps) - len(steady),
        loss_first=losses[0] if losses else None,
        loss_last=losses[-1] if losses else None,
        flop_per_s_per_gpu=_median(step.flop_per_s_per_gpu for step in steady),
        utilization=_median(step.utilization for step in steady),
        power_w=_median(step.power_w for step in steady),
    )


def _time_s(step: LoggedStep, batch_seqs: float, tokens_per_gpu: float) -> float | None:
    """Return the time of a step: as printed, or from the throughput that is. [s]"""
    if step.step_time_s is not None:
        return step.step_time_s
    if step.samples_per_s is not None:
        return batch_seqs / step.samples_per_s
    return None if step.tokens_per_s_per_gpu is None else tokens_per_gpu / step.tokens_per_s_per_gpu


def _check_batch(log: Log, batch_seqs: int) -> None:
    """Refuse a log none of whose later lines is of the batch; lines of a growing batch are of several."""
    printed = [step.batch_seqs for step in log.steady() if step.batch_seqs is not None]
    if printed and batch_seqs not in printed:
        raise BadInput(
            f"{log.path}: steps of {printed[-1]:g} sequences, and the plan's batch={batch_seqs}. "
            f"Valid: the log of this run, or --batch {printed[-1]:g}."
        )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
