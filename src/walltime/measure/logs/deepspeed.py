"""Logs of DeepSpeed: its throughput timer, its pipeline engine, and its wall-clock breakdown."""

import re

from walltime.measure.logs.found import Found
from walltime.measure.logs.numbers import GIB, MS, number, pairs, positive, scaled
from walltime.measure.logs.records import LoggedStep

NAME = "DeepSpeed"
_STEP = re.compile(r"global_step=(\d{1,12}), .*CurrSamplesPerSec=")
_PIPELINE = re.compile(r"steps: (\d{1,12}) loss: (\S{1,40}) iter time \(s\): (\S{1,40}) samples/sec: (\S{1,40})")
_TIMERS = re.compile(r"time \(ms\) \|(?= (?:fwd|forward):)")
_TIMER = re.compile(r"[a-z_]{1,40}")


def found_in(line: str) -> Found | None:
    """Return what a line says: of a step, of timers of whole steps, or None.

    Samples a second are those of the whole batch; GB are 2^30 bytes. Timers of microsteps are passed over.
    """
    if step := _STEP.search(line):
        said = pairs(line, ",", "=")
        rate = positive(said.get("CurrSamplesPerSec"))
        allocated = scaled(said.get("MaxMemAllocated"), GIB)
        return Found(LoggedStep(int(step[1]), samples_per_s=rate), allocated_bytes=allocated)
    if step := _PIPELINE.search(line):
        loss, time_s, rate = number(step[2]), positive(step[3]), positive(step[4])
        return Found(LoggedStep(int(step[1]), step_time_s=time_s, samples_per_s=rate, loss=loss))
    if start := _TIMERS.search(line):
        said = pairs(line[start.end() :])
        times = {name: scaled(text, MS) for name, text in said.items() if _TIMER.fullmatch(name)}
        return Found(timers_s={name: time_s for name, time_s in times.items() if time_s is not None})
    return None
