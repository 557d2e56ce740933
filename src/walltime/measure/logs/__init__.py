"""Logs of Megatron-LM, torchtitan, NeMo and DeepSpeed: step time, throughput, loss, memory."""

from walltime.measure.logs.read import FORMATS, read_log
from walltime.measure.logs.records import Log, LoggedStep, Timing, timing

__all__ = ["FORMATS", "Log", "LoggedStep", "Timing", "read_log", "timing"]
