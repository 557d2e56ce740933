"""What ours says of a claim: a number or whether it holds, and by which mechanism, in words computed from numbers."""

from collections.abc import Callable
from dataclasses import dataclass

from walltime.studies.fernandez2024.drawing import percent
from walltime.studies.fernandez2024.points import Point


@dataclass(frozen=True)
class Finding:
    """Ours beside a claim.

    Attributes
    ----------
    mechanism
        Why, or why it cannot be told.
    ours
        In the claim's unit; None where there is no number.
    holds
        Whether what is said holds; None where there is nothing to tell.
    shown
        Ours in words, where a number alone would not say it.
    any_plan
        Ours with any plan of the planner's instead of the best of tensor × pipeline × FSDP; None where it is the same,
        or not asked.
    """

    mechanism: str
    ours: float | None = None
    holds: bool | None = None
    shown: str = ""
    any_plan: float | None = None


FINDINGS: dict[str, Callable[[], "Finding"]] = {}
"""By id of the claim."""


def finding(name: str) -> Callable[[Callable[[], Finding]], Callable[[], Finding]]:
    """Register what computes the finding of a claim."""

    def registered(function: Callable[[], Finding]) -> Callable[[], Finding]:
        FINDINGS[name] = function
        return function

    return registered


def change(base: Point, far: Point, metric: str) -> float:
    """Return how a metric changes, as a share."""
    return far[metric] / base[metric] - 1


def signed(share: float) -> str:
    """Show a change in percent."""
    return percent(share, signed=True)
