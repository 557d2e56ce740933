"""Saved traces of PyTorch's profiler: computation, communication, what of it is exposed, and idle time."""

from walltime.measure.trace.analysis import RankTrace, mean_parts, rank_traces, step_parts
from walltime.measure.trace.files import trace_files
from walltime.measure.trace.ranks import TraceReport, trace_report

__all__ = ["RankTrace", "TraceReport", "mean_parts", "rank_traces", "step_parts", "trace_files", "trace_report"]
