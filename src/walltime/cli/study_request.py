"""What every paper's reproduction is asked, and what it answers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from walltime.problems import BadInput, unknown
from walltime.report.charts import require_matplotlib
from walltime.report.files import check_writable


@dataclass(frozen=True)
class Request:
    """A reproduction as it was asked for.

    Attributes
    ----------
    figures
        As given; none means all.
    out
        The folder for files; None for none.
    modes
        Readings of the paper, where it has several.
    num_workers
        Processes.
    """

    figures: tuple[str, ...]
    out: Path | None
    modes: tuple[str, ...]
    num_workers: int

    @property
    def whole(self) -> bool:
        """Whether the whole study is asked for, its numbers beside ours among it."""
        return not self.figures or "all" in self.figures


@dataclass(frozen=True)
class Reproduced:
    """What a reproduction answers.

    Attributes
    ----------
    inputs, result
        Of the JSON document.
    told
        Paragraphs for people.
    problem
        What does not come out though it should; empty if all does.
    """

    inputs: Mapping[str, Any]
    result: Mapping[str, Any]
    told: Sequence[str]
    problem: str


def figure_names(figures: Sequence[str], known: Iterable[str]) -> list[str]:
    """Return the figures that are meant, each once; an unknown one is refused."""
    names = list(known)
    for name in figures:
        if name not in names and name != "all":
            raise unknown("figure", name, [*names, "all"])
    return names if not figures or "all" in figures else list(dict.fromkeys(figures))


def prepare(asked: Request) -> None:
    """Refuse what cannot be written, before any work is done for it."""
    if asked.figures and asked.out is None:
        raise BadInput("figures need a folder to be written to. Valid: --out DIR.")
    if asked.out is not None:
        require_matplotlib()
        check_writable(asked.out)


def files_written(written: Sequence[str], out: Path) -> str:
    """Say how many files there are, and where to start."""
    return f"{len(written)} files in {out}; start with {out / 'index.html'}"
