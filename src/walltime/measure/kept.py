"""Rows that are kept in a file as they are measured, so that a measurement that was stopped goes on where it was."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from walltime.measure.environment import environments_file, keep_environment


class Row(Protocol):
    """A row that knows what was asked for."""

    @property
    def point(self) -> tuple[Any, ...]:
        """What was asked for."""


R = TypeVar("R", bound=Row)
Keep = Callable[[Iterable[Any]], None]


def kept(
    path: Path | None,
    opened: Callable[[Path], Keep],
    read: Callable[[Path], list[R]],
    manifest: Mapping[str, Any],
) -> tuple[Keep, set[tuple[Any, ...]]]:
    """Return what appends rows to a file, and the points that are in it; without a file nothing of either.

    Parameters
    ----------
    path
        The file of rows; the manifest goes beside it.
    opened, read
        Of the kind of row: what appends to a file, and what reads one.
    manifest
        That the rows name by its id.
    """
    if path is None:
        return _forget, set()
    append = opened(path)
    known = {row.point for row in read(path)}
    keep_environment(environments_file(path), manifest)
    return append, known


def _forget(_rows: Iterable[Any]) -> None:
    """Keep nothing."""
