"""Logs of torchtitan."""

import re

from walltime.measure.logs.found import Found
from walltime.measure.logs.numbers import GIB, PERCENT, TERA, number, positive, scaled
from walltime.measure.logs.records import LoggedStep

NAME = "torchtitan"
_STEP = re.compile(r"(?<!validate )\bstep:\s*(\d{1,12})\s.*\btps:\s*\S")
_PAIR = re.compile(r"\b(loss|memory|tps|tflops|mfu):\s*(\S{1,40})")


def found_in(line: str) -> Found | None:
    """Return what a line says of a step, or None.

    ``tps`` are tokens a second and accelerator; ``memory`` is the most that the allocator held.
    """
    step = _STEP.search(line)
    if not step:
        return None
    said = dict(_PAIR.findall(line))
    return Found(
        LoggedStep(
            step=int(step[1]),
            tokens_per_s_per_gpu=positive(said["tps"]),
            loss=number(said.get("loss")),
            flop_per_s_per_gpu=scaled(said.get("tflops"), TERA),
            utilization=scaled(said.get("mfu"), PERCENT),
        ),
        reserved_bytes=scaled(said.get("memory"), GIB),
    )
