"""What comes out of a comparison with reference values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EXACT = 1e-9
"""Relative tolerance of numbers that are given in full."""


@dataclass(frozen=True)
class Verification:
    """How one file compares.

    Attributes
    ----------
    rows
        Rows compared.
    largest_error
        Largest relative error of any number of any row, 1 where feasibility differs.
    worst
        The row with that error: its line, and what differs.
    num_outside
        Rows outside the tolerance.
    tolerance
        Relative; for numbers printed to a few digits, half of the last digit if that is more.
    """

    file: str
    rows: int
    largest_error: float
    worst: dict[str, Any]
    num_outside: int
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether every row is within tolerance."""
        return self.num_outside == 0


@dataclass(frozen=True)
class Comparison:
    """One row: its line, its relative error, whether that is outside tolerance, and what was compared."""

    line: int
    error: float
    outside: bool
    what: dict[str, Any]


def summary(file: Path, comparisons: Sequence[Comparison], tolerance: float) -> Verification:
    """Return how a file compares, from its rows."""
    worst = max(comparisons, key=lambda c: (c.outside, c.error))
    return Verification(
        file=str(file),
        rows=len({c.line for c in comparisons}),
        largest_error=max(c.error for c in comparisons),
        worst={"line": worst.line, "relative_error": worst.error, **worst.what},
        num_outside=len({c.line for c in comparisons if c.outside}),
        tolerance=tolerance,
    )


def relative_error(ours: float, reference: float) -> float:
    """Return the relative error; 1 where the reference is zero and ours is not, infinite where ours is no number."""
    if ours == reference:
        return 0.0
    if math.isnan(ours):
        return math.inf
    return abs(ours - reference) / abs(reference) if reference else 1.0
