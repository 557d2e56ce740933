"""Quantities at the doors: text with a unit to plain SI floats, and back. Inside the program everything is SI."""

import math
import re

from walltime.problems import BadInput

_DECIMAL = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50}
_DAY_S = 86400.0
_SMALLEST, _LARGEST = 1e-15, 1e25  # beyond these in SI, products of quantities leave what a float can hold
YEAR_S = 365.25 * _DAY_S
"""A Julian year [s]; studies that define their own year say so."""


def _scaled(unit: str, factor: float, prefixes: dict[str, float]) -> dict[str, float]:
    return {prefix + unit: scale * factor for prefix, scale in prefixes.items()}


LARGEST_COUNT = 10**24
"""The largest number of accelerators that is accepted: beyond every cluster of the grids."""
LARGEST_SIZE = 10**15
"""The largest size of a model or batch that is accepted: its divisors are still found in seconds."""
LARGEST_TIMELINE = 500_000
"""The most passes of a step that are placed in time: as many take some seconds, and a viewer still opens them."""
_UNITS: dict[str, dict[str, float]] = {
    "bytes": _scaled("B", 1.0, _DECIMAL | _BINARY),
    "bytes/s": _scaled("B/s", 1.0, _DECIMAL | _BINARY)
    | _scaled("b/s", 1 / 8, _DECIMAL)
    | _scaled("bit/s", 1 / 8, _DECIMAL)
    | _scaled("bps", 1 / 8, _DECIMAL),
    "seconds": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0}
    | dict.fromkeys(("d", "day", "days"), _DAY_S)
    | dict.fromkeys(("w", "week", "weeks"), 7 * _DAY_S)
    | dict.fromkeys(("mo", "month", "months"), YEAR_S / 12)
    | dict.fromkeys(("y", "yr", "year", "years"), YEAR_S),
    "FLOP/s": _scaled("FLOP/s", 1.0, _DECIMAL),
    "FLOP": _scaled("FLOP", 1.0, _DECIMAL),
    "Hz": _scaled("Hz", 1.0, _DECIMAL),
    "W": _scaled("W", 1.0, _DECIMAL),
    "tokens": _scaled("", 1.0, _DECIMAL | _BINARY) | _scaled("tokens", 1.0, {"": 1.0}),
}
_CALENDAR = ("mo", "month", "months", "y", "yr", "year", "years")
_EXAMPLES = {
    "bytes": "80GB",
    "bytes/s": "450GB/s or 400Gb/s",
    "seconds": "1.1us, 90d, 3months or 0.25y",
    "FLOP/s": "989.4TFLOP/s",
    "FLOP": "1e25FLOP",
    "Hz": "1.83GHz",
    "W": "700W",
    "tokens": "16M",
}
_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\d\s].*?)?\s*")


def parse_quantity(text: str, dimension: str, field: str, *, year_s: float = YEAR_S) -> float:
    """Read a positive quantity with its unit.

    Parameters
    ----------
    text
        For example ``"400Gb/s"``, ``"1.1us"``, ``"80 GiB"``.
    dimension
        One of ``bytes``, ``bytes/s``, ``seconds``, ``FLOP``, ``FLOP/s``, ``Hz``, ``W``, ``tokens``.
    field
        What is being read, for the message.
    year_s
        Length of a year, twelve months. [s]

    Returns
    -------
    float
        The value in SI units (bytes, not bits).

    Raises
    ------
    BadInput
        No number, no unit, an unknown unit, or a value that is not positive and finite.

    Examples
    --------
    >>> parse_quantity("400Gb/s", "bytes/s", "bandwidth")
    50000000000.0
    """
    units = _UNITS[dimension]
    example = _EXAMPLES[dimension]
    match = _QUANTITY.fullmatch(str(text))
    if not match:
        raise BadInput(f"{field}={text!r} is not a quantity. Valid: for example {example}.")
    unit = match[2] or ""
    if unit not in units:
        wrong = f"has the unknown unit {unit!r}" if unit else "has no unit"
        raise BadInput(f"{field}={text!r} {wrong}. Valid: for example {example}.")
    size = units[unit] * (year_s / YEAR_S if unit in _CALENDAR else 1)
    value = float(match[1]) * size
    return finite(value, field, text) if dimension == "FLOP" else positive(value, field, text)


def positive(value: float, field: str, shown: object = None) -> float:
    """Return ``value`` if it is positive, finite and not absurd; otherwise say so with the field's name."""
    finite(value, field, shown)
    if not _SMALLEST <= value <= _LARGEST:
        shown = value if shown is None else shown
        raise BadInput(f"{field}={shown!s} must be between {_SMALLEST:g} and {_LARGEST:g} in SI units.")
    return value


def finite(value: float, field: str, shown: object = None) -> float:
    """Return ``value`` if it is positive and finite; otherwise say so with the field's name."""
    if not (math.isfinite(value) and value > 0):
        raise BadInput(f"{field}={value if shown is None else shown!s} must be a positive, finite number.")
    return value


def whole(value: object, field: str, most: int = LARGEST_COUNT) -> int:
    """Return ``value`` if it is a whole number from 1 to ``most``; otherwise say so with the field's name."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadInput(f"{field}={shortened(value)} must be a whole number of at least 1.")
    if value > most:
        raise BadInput(f"{field}={shortened(value)} must be at most {most:,}.")
    return int(value)


def whole_in(text: str, field: str, most: int = LARGEST_COUNT) -> int:
    """Read a whole number from 1 to ``most``."""
    plain = text.strip()
    if not (plain.isascii() and plain.isdigit()):
        raise BadInput(f"{field}={shortened(text)} must be a whole number of at least 1.")
    if len(plain.lstrip("0")) > len(str(most)):
        raise BadInput(f"{field}={shortened(text)} must be at most {most:,}.")
    return whole(int(plain), field, most)


def shortened(value: object) -> str:
    """Return how a message shows a value, cut where it is long."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


_PREFIX_STEPS = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))


def format_si(value: float, unit: str, digits: int = 4) -> str:
    """Show a value with a decimal prefix: ``format_si(3.352e12, "B/s")`` is ``"3.352 TB/s"``."""
    if math.isinf(value):
        return f"unlimited {unit}"
    scale, prefix = next((s for s in _PREFIX_STEPS if abs(value) >= s[0]), (1.0, ""))
    return f"{value / scale:.{digits}g} {prefix}{unit}"


def format_short(count: float) -> str:
    """Show parameters, tokens or dollars as people say them: ``format_short(405.9e9)`` is ``"405.9B"``."""
    return format_si(count, "").replace(" ", "").replace("G", "B")


def format_count(value: float) -> str:
    """Show a whole number: with separators below ten million, else as a power of ten (``6.87e10``)."""
    return f"{value:,.0f}" if abs(value) < 1e7 else f"{value:.3g}".replace("e+", "e")


def format_flop(value: float, digits: int = 3) -> str:
    """Show a FLOP count as the field writes it: ``2.05e28``."""
    if math.isinf(value):
        return "unlimited"
    return f"{value:.{digits - 1}e}".replace("e+", "e")


def format_time(value_s: float) -> str:
    """Show a time in the unit a person would choose."""
    if value_s == 0:
        return "0"
    for unit, size in (("years", YEAR_S), ("days", _DAY_S), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3)):
        if value_s >= (2 if unit in ("years", "days", "h", "min") else 1) * size:
            return f"{value_s / size:.3g} {unit}"
    return f"{value_s / 1e-6:.3g} us"
