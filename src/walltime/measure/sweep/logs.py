"""What the log of a point that failed says of why: the last lines that are its own, and the cause among them."""

import re
import signal
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path

_NUM_LAST_LINES = 12
_LAST_BYTES = 65536  # of a log, in which the last lines are looked for: several tracebacks of several ranks
_LONGEST = 300  # characters of a cause; the log has the rest
_RANK = r"(?:\[[^\]]*\]:\s*)?"  # which torchrun and PyTorch put in front of a line of a rank
_OURS = re.compile(_RANK + r"walltime: (.+)")
_AGENT = re.compile(r"[IWE]\d{4} .*torch/distributed/elastic/.*")
_RANK_FAILED = re.compile(r"E\d{4} .*failed \(exitcode: (-?\d+)\) local_rank: (\d+) .*")
_BANNER = re.compile(r"\*+|Setting OMP_NUM_THREADS .*")


def last_lines(log: Path) -> list[str]:
    """Return the last lines of a log that say something, without torchrun's own account of a rank that failed."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LAST_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    lines = [line for line in text.splitlines() if line.strip() and not _BANNER.fullmatch(line)]
    return list(_own(lines))[-_NUM_LAST_LINES:]


def _own(lines: Sequence[str]) -> Iterator[str]:
    """Yield the lines up to the one in which torchrun says which rank failed; its traceback and table come after."""
    yield from takewhile(lambda line: not _RANK_FAILED.fullmatch(line), lines)
    yield from [line for line in lines if _RANK_FAILED.fullmatch(line)][:1]


def refusal(lines: Sequence[str]) -> str:
    """Return what walltime itself refused, which another attempt would not change; empty without."""
    return next((match[1] for line in reversed(lines) if (match := _OURS.fullmatch(line))), "")


def cause(lines: Sequence[str]) -> str:
    """Return why a point failed, as far as its last lines say, in one line."""
    if said := refusal(lines):
        return said[:_LONGEST]
    failed = next((match for line in reversed(lines) if (match := _RANK_FAILED.fullmatch(line))), None)
    last = next((re.sub(f"^{_RANK}", "", line) for line in reversed(lines) if not _AGENT.fullmatch(line)), "")
    if failed is None:
        return last.strip()[:_LONGEST]
    what = f"local rank {failed[2]} {ended(int(failed[1]))}"
    return what if int(failed[1]) < 0 or not last else f"{what}: {last.strip()[:_LONGEST]}"


def ended(exit_code: int) -> str:
    """Say how a process ended: an exit code, or a signal if it is negative."""
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return f"killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"killed by signal {-exit_code}"
