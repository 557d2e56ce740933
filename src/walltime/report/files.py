"""Files that are whole or not there: written beside their place, then moved into it."""

import contextlib
import csv
import io
import math
import numbers
import os
import secrets
import shutil
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from walltime.durable import cannot_write
from walltime.problems import BadInput
from walltime.signals import terminable

_STOPS = (signal.SIGINT, signal.SIGTERM)


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV, a column for each key in order of first appearance.

    Floats are the shortest text that reads back to the same number. What is missing, unlimited or not a
    number is an empty cell.

    Examples
    --------
    >>> print(csv_text([{"a": 0.1, "b": None}, {"a": 1e300, "b": "x, y"}]), end="")
    a,b
    0.1,
    1e+300,"x, y"
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if not columns:
        return ""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, numbers.Real):
        number = float(value)
        return repr(number) if math.isfinite(number) else ""
    return str(value)


def check_writable(out: Path) -> None:
    """Refuse a folder that cannot be made or written to, before any work is done for it."""
    there = next(parent for parent in (out.absolute(), *out.absolute().parents) if parent.exists())
    if not there.is_dir():
        raise BadInput(f"cannot write to {str(out)!r}: {there} is not a folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise BadInput(f"cannot write to {str(out)!r}: no permission in {there}.")


@contextlib.contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Yield a temporary folder whose files are moved to the same places under ``out`` at the end.

    An exception, Ctrl-C or ``kill`` before the end leaves ``out`` as it was, and no temporary file. The moves
    themselves are not interrupted. The folder is inside ``out``, so that each move is one step on one disk.

    Raises
    ------
    BadInput
        ``out`` cannot be written to.
    """
    with terminable(), new_folders(out):
        staging = out / f".{secrets.token_hex(4)}.partial"
        try:
            _make_folder(staging)
            yield staging
            with _uninterrupted():
                _move_files(staging, out)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold interrupts back until the end; they then arrive."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def new_folders(out: Path) -> Iterator[None]:
    """Make ``out`` and its parents; an exception removes again those that are new and empty."""
    new = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        _make_folder(out)
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for folder in new:
                folder.rmdir()
        raise


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def _move_files(staging: Path, out: Path) -> None:
    for source in sorted(path for path in staging.rglob("*") if path.is_file()):
        target = out / source.relative_to(staging)
        _make_folder(target.parent)
        try:
            source.replace(target)
        except OSError as error:
            raise cannot_write(target, error) from error
