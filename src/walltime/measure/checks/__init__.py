"""A plan's prediction beside its measurement, part by part: where the model is wrong, and by how much."""

from walltime.measure.checks.comparison import Comparison, Part, comparison
from walltime.measure.checks.measured import Measured, from_log, from_result, from_traces

__all__ = ["Comparison", "Measured", "Part", "comparison", "from_log", "from_result", "from_traces"]
