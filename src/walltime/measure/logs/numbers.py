"""Numbers out of the text of a log."""

import math
import re
from collections.abc import Mapping

NUMBER = r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
MIB, GIB = 2.0**20, 2.0**30
"""What frameworks mean by MB and GB. [B]"""
TERA = 1e12
PERCENT = 0.01
MS = 1e-3


def number(text: str | None) -> float | None:
    """Return a finite number, with or without separators of thousands; None for any other text."""
    match = re.match(NUMBER, text.strip()) if text else None
    value = float(match[0].replace(",", "")) if match else math.nan
    return value if math.isfinite(value) else None


def positive(text: str | None) -> float | None:
    """Return a number above zero, None for any other text."""
    value = number(text)
    return value if value is not None and value > 0 else None


def scaled(text: str | None, unit: float) -> float | None:
    """Return a positive number in a unit, None for any other text."""
    value = positive(text)
    return None if value is None else value * unit


def pairs(text: str, separator: str = "|", sign: str = ":") -> Mapping[str, str]:
    """Return what stands before and after the last ``sign`` of each piece: ``a: 1 | b: 2``."""
    cut = [piece.rpartition(sign) for piece in text.split(separator)]
    return {name.strip(): value.strip() for name, found, value in cut if found}
