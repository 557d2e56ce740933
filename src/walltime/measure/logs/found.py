"""What one line of a log says."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from walltime.measure.logs.records import LoggedStep


@dataclass(frozen=True)
class Found:
    """A step, memory [B], timers [s]: whatever a line holds of them."""

    step: LoggedStep | None = None
    allocated_bytes: float | None = None
    reserved_bytes: float | None = None
    timers_s: Mapping[str, float] = field(default_factory=dict)
