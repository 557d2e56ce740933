"""Logs of Megatron-LM, and of what is built on its training loop (Megatron-Bridge, Megatron-DeepSpeed)."""

import re

from walltime.measure.logs.found import Found
from walltime.measure.logs.numbers import MIB, MS, TERA, number, pairs, positive, scaled
from walltime.measure.logs.records import LoggedStep

NAME = "Megatron-LM"
_STEP = re.compile(r"iteration\s*=?\s*(\d{1,12})\s*/")
_TIME = "elapsed time per iteration (ms)"
_MEMORY = re.compile(r"after \d+ iterations\) memory \(MB\)")


def found_in(line: str) -> Found | None:
    """Return what a line says: of a step, of memory, or None.

    ``elapsed time per iteration (ms)`` is the mean over the steps since the line before; MB are 2^20 bytes.
    """
    if _TIME in line and (step := _STEP.search(line)):
        said = pairs(line)
        return Found(
            LoggedStep(
                step=int(step[1]),
                step_time_s=scaled(said.get(_TIME), MS),
                batch_seqs=positive(said.get("global batch size")),
                loss=number(said.get("lm loss")),
                flop_per_s_per_gpu=scaled(said.get("throughput per GPU (TFLOP/s/GPU)", said.get("TFLOPs")), TERA),
                power_w=positive(said.get("power per GPU (W/GPU)")),
            )
        )
    if _MEMORY.search(line):
        said = pairs(line)
        allocated, reserved = said.get("max allocated"), said.get("max reserved")
        return Found(allocated_bytes=scaled(allocated, MIB), reserved_bytes=scaled(reserved, MIB))
    return None
