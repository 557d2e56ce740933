"""What was measured: step time and memory of a row, in SI units."""

import re
from dataclasses import dataclass
from typing import Literal

from walltime.catalog import AcceleratorRecord, parameter_set
from walltime.problems import BadInput
from walltime.validate.architecture import Unsaid
from walltime.validate.measured import MeasuredRow
from walltime.validate.notes import says
from walltime.workload import Training
from walltime.workload.flop import Convention, flop_parts, model_flop_per_token

TimeKind = Literal["step time", "throughput", "model FLOP/s", "hardware FLOP/s", "MFU"]
MemoryKind = Literal["allocated", "reserved", "unsaid"]
_PASSES = 3
_HALF_ATTENTION = ("megatron_bridge",)
"""Sources that count causal attention; the README beside the rows has each source's formula."""
_RESERVED = ("torchtitan", "torchao")
"""Sources that use torchtitan's logger, which prints PyTorch's largest reserved memory."""


@dataclass(frozen=True)
class MeasuredTime:
    """A step time and what it was worked out from. [s]"""

    step_time_s: float
    kind: TimeKind


def step_time_of(row: MeasuredRow, training: Training, accelerator: str) -> MeasuredTime | None:
    """Return the measured step time; None where the row ran out of memory or gives no time.

    In this order: the step time; tokens/s; model FLOP/s, hardware FLOP/s or MFU, turned into a time by the FLOP formula
    of the source: full attention, or half where the source or the row says so, with the output layer, without the
    embedding. Hardware FLOP/s have one more pass of what is recomputed: the layers, or the attention scores.
    """
    if row.status == "oom":
        return None
    if row.step_time_s:
        return MeasuredTime(row.step_time_s, "step time")
    tokens_per_gpu = training.batch_tokens / (row.n_gpus or 1)
    if row.tokens_per_s_per_gpu:
        return MeasuredTime(tokens_per_gpu / row.tokens_per_s_per_gpu, "throughput")
    model_flop = tokens_per_gpu * _model_flop_per_token(row, training)
    if row.model_tflops_per_gpu:
        return MeasuredTime(model_flop / (row.model_tflops_per_gpu * 1e12), "model FLOP/s")
    if row.hfu_tflops_per_gpu:
        flop = tokens_per_gpu * _hardware_flop_per_token(row, training)
        return MeasuredTime(flop / (row.hfu_tflops_per_gpu * 1e12), "hardware FLOP/s")
    if row.mfu:
        return MeasuredTime(model_flop / (row.mfu * _peak_flop_per_s(row, accelerator)), "MFU")
    return None


def _model_flop_per_token(row: MeasuredRow, training: Training) -> float:
    half = row.source_id in _HALF_ATTENTION or says(
        row, r"(?<!non-)(?<!non )causal", r"half(?:ved)? (?:the )?attention"
    )
    convention: Convention = "causal-attention" if half else "full-attention"
    return float(model_flop_per_token(training.model, training.seq_len, convention))


def _hardware_flop_per_token(row: MeasuredRow, training: Training) -> float:
    parts = flop_parts(training.model, training.seq_len, causal=False)
    again = {"full": parts.total - parts.head, "selective": parts.attention_scores}
    return float(_PASSES * parts.total + again.get(row.activation_recompute, 0))


def _peak_flop_per_s(row: MeasuredRow, accelerator: str) -> float:
    if row.precision in ("fp8", "fp4"):
        raise Unsaid("only MFU stated, and not of which peak")
    try:
        peaks = parameter_set("datasheet").get(AcceleratorRecord, accelerator).peak_flop_per_s
    except BadInput:
        raise Unsaid(f"only MFU stated, and {accelerator} is not in the catalog") from None
    formats = ("fp32",) if row.precision == "fp32" else ("bf16", "fp16")
    found = next((peaks[name].value for name in formats if name in peaks), None)
    if found is None:
        raise Unsaid(f"only MFU stated, and {accelerator} has no {formats[0]} peak")
    return float(found)


@dataclass(frozen=True)
class MeasuredMemory:
    """Memory of one accelerator and what it counts. [B]"""

    memory_bytes: float
    kind: MemoryKind


def memory_of(row: MeasuredRow) -> MeasuredMemory | None:
    """Return the measured memory.

    ``mem_gb`` is taken for GiB, which PyTorch's loggers print under either name, unless the notes say decimal. The kind
    is what the notes say, else what the source's logger prints.
    """
    text = row.notes.lower()
    if not row.mem_gb or "resident" in text:  # a whole process on the host, most of which is none of the model's
        return None
    decimal = re.search(r"decimal gb|mem in gb\b|1e9", text)
    kind: MemoryKind = "unsaid"
    if "allocated" in text:
        kind = "allocated"
    elif "reserved" in text or row.source_id in _RESERVED:
        kind = "reserved"
    return MeasuredMemory(row.mem_gb * (1e9 if decimal else 2.0**30), kind)
