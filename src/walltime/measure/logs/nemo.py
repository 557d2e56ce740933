"""Logs of NeMo: lines of its progress printer, or the bar of Lightning."""

import re

from walltime.measure.logs.found import Found
from walltime.measure.logs.numbers import NUMBER, TERA, number, positive, scaled
from walltime.measure.logs.records import LoggedStep

NAME = "NeMo"
_TIME = re.compile(rf"train_step_timing in s\s*[:=]\s*({NUMBER})")
_STEP = re.compile(r"global_step\s*[:=]\s*(\d{1,12})|\biteration (\d{1,12})/")
_PAIR = re.compile(
    rf"\b(reduced_train_loss|global_batch_size|peak_memory_usage|tokens_per_sec_per_gpu|TFLOPS_per_GPU)\s*[:=]\s*({NUMBER})"
)


def found_in(line: str) -> Found | None:
    """Return what a line says of a step, or None; ``peak_memory_usage`` is in bytes."""
    time, step = _TIME.search(line), _STEP.search(line)
    if not time or not step:
        return None
    said = dict(_PAIR.findall(line))
    return Found(
        LoggedStep(
            step=int(step[1] or step[2]),
            step_time_s=positive(time[1]),
            tokens_per_s_per_gpu=positive(said.get("tokens_per_sec_per_gpu")),
            batch_seqs=positive(said.get("global_batch_size")),
            loss=number(said.get("reduced_train_loss")),
            flop_per_s_per_gpu=scaled(said.get("TFLOPS_per_GPU"), TERA),
        ),
        allocated_bytes=positive(said.get("peak_memory_usage")),
    )
