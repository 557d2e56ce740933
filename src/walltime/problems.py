"""What can go wrong that is not our bug: one family of errors, each with its exit code and one line of text."""

import difflib
from collections.abc import Iterable


class Problem(Exception):
    """A question that cannot be answered as it was asked. Its text is one line, for the person who asked."""

    exit_code = 2


class BadInput(Problem):
    """The input is wrong: the text names the field, the value and what would be valid."""

    exit_code = 2


class NegativeAnswer(Problem):
    """A valid question whose answer is no: does not fit, cannot finish in time, outside tolerance."""

    exit_code = 3


class MissingExtra(Problem):
    """An optional dependency or a device is not there; the text says how to get it."""

    exit_code = 4


def unknown(what: str, name: object, valid: Iterable[str], *, see: str = "") -> BadInput:
    """Name the value, the nearest valid one and where to find the rest.

    Parameters
    ----------
    what
        The field, in the words of the person who asked ("accelerator").
    name
        The value that was given.
    valid
        Every value that would be accepted.
    see
        A command that lists the valid values; without it they are listed when there are few.
    """
    names = sorted(set(valid))
    lowered = {n.lower(): n for n in names}
    near = [lowered[m] for m in difflib.get_close_matches(str(name).lower(), lowered, n=1, cutoff=0.5)]
    hint = f" Did you mean {near[0]!r}?" if near else ""
    rest = f" ({see})" if see else f" Valid: {', '.join(names)}."
    return BadInput(f"unknown {what} {name!r}.{hint}{rest}")
