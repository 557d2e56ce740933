"""Reading a log line by line: which software wrote it is seen from its lines."""

import re
import statistics
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from walltime.measure.logs import deepspeed, megatron, nemo, torchtitan
from walltime.measure.logs.found import Found
from walltime.measure.logs.records import Log
from walltime.problems import BadInput

FORMATS: tuple[ModuleType, ...] = (megatron, torchtitan, nemo, deepspeed)
"""In the order in which they are tried; Megatron-DeepSpeed prints the lines of both, and Megatron's say more."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LONGEST = 10_000
"""Characters of a line that are looked at: lines about steps have some hundreds."""


def read_log(path: Path) -> Log:
    """Read a log.

    Colours, prefixes (of ranks, launchers and loggers) and other lines are passed over. A step that is there more than
    once, as a progress bar rewrites it and ranks repeat it, counts as it is there last.

    Raises
    ------
    BadInput
        The file cannot be read, or no line says anything of a step in a format that is known.
    """
    found: dict[str, list[Found]] = {form.NAME: [] for form in FORMATS}
    for line in _lines(path):
        for form in FORMATS:
            if (said := form.found_in(line)) is not None:
                found[form.NAME].append(said)
    for form in FORMATS:
        if any(said.step for said in found[form.NAME]):
            return _log(path, form.NAME, found[form.NAME])
    names = ", ".join(form.NAME for form in FORMATS)
    raise BadInput(f"{path}: no line says how long a step took. Valid: a log of {names}.")


def _lines(path: Path) -> Iterator[str]:
    """Yield lines without colours; what a progress bar rewrites is a line each time."""
    try:
        with path.open(encoding="utf-8", errors="replace", newline=None) as file:
            for line in file:
                yield _COLOURS.sub("", line[:_LONGEST])
    except OSError as error:
        raise BadInput(f"cannot read {str(path)!r}: {error.strerror or error}.") from None


def _log(path: Path, software: str, found: Iterable[Found]) -> Log:
    found = list(found)
    steps = {said.step.step: said.step for said in found if said.step is not None}
    names = dict.fromkeys(name for said in found for name in said.timers_s)
    return Log(
        path=path,
        software=software,
        steps=tuple(steps[number] for number in sorted(steps)),
        allocated_bytes=_most(said.allocated_bytes for said in found),
        reserved_bytes=_most(said.reserved_bytes for said in found),
        timers_s={
            name: statistics.median(said.timers_s[name] for said in found if name in said.timers_s) for name in names
        },
    )


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
