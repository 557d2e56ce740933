"""The folder of a sweep: its journal and what is derived from it, results and logs of its points, and its locks."""

import csv
import io
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from walltime.durable import atomic_bytes, atomic_json, cannot_write, make_folder
from walltime.measure.environment import environments_file
from walltime.measure.sweep.journal import Journal, Record
from walltime.measure.sweep.points import Point
from walltime.problems import BadInput, MissingExtra

_POLL_S = 0.05


@dataclass(frozen=True)
class Folder:
    """Where a sweep keeps everything.

    ``journal.jsonl`` is the truth; ``rows.csv`` is made from it. ``results`` has a file from each point that finished,
    ``logs`` what each printed, ``points.json`` what the file of the sweep asked for last.
    """

    path: Path

    @property
    def journal(self) -> Path:
        """The journal."""
        return self.path / "journal.jsonl"

    @property
    def rows(self) -> Path:
        """Measured rows, as ``walltime validate`` reads them."""
        return self.path / "rows.csv"

    def result(self, point_id: str) -> Path:
        """Return the file that a point writes when it has finished."""
        return self.path / "results" / f"{point_id}.json"

    def log(self, point_id: str) -> Path:
        """Return the file of what a point printed."""
        return self.path / "logs" / f"{point_id}.log"

    def make(self) -> None:
        """Make it with its subfolders, on the disk."""
        for folder in (self.path, self.path / "results", self.path / "logs"):
            make_folder(folder)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other sweeps out. A lock of a process, however it ends, ends with it.

        Raises
        ------
        BadInput
            Another sweep runs here.
        """
        with _lock_file(self.path / "lock") as descriptor:
            if not _lock(descriptor):
                raise BadInput(f"{str(self.path)!r}: another sweep runs in this folder. Valid: another --out.")
            yield

    @contextmanager
    def point_lock(self, wait_s: float) -> Iterator[int]:
        """Yield a locked file that a point's guard inherits, so that the lock lasts until nothing of the point is left.

        Parameters
        ----------
        wait_s
            For the point of a sweep that was killed, which is just being ended. [s]

        Raises
        ------
        BadInput
            It does not end.
        """
        with _lock_file(self.path / "point.lock") as descriptor:
            deadline = time.monotonic() + wait_s
            while not _lock(descriptor):
                if time.monotonic() > deadline:
                    raise BadInput(f"{str(self.path)!r}: a point of an earlier sweep still runs and does not end.")
                time.sleep(_POLL_S)
            yield descriptor

    def write_rows(self, journal: Journal, points: Sequence[Point]) -> None:
        """Write the measured rows: those of the file's points in its order, then those of earlier files.

        What they were measured on stands beside them, by the id that rows have.
        """
        order = {point.id: index for index, point in enumerate(points)}
        measured = [record for record in journal.records.values() if record.is_measured]
        ordered = sorted(measured, key=lambda record: order.get(record.id, len(order)))
        environments = {str(record.environment.get("id")): record.environment for record in reversed(ordered)}
        environments.pop("None", None)
        atomic_json(environments_file(self.rows), environments)
        atomic_bytes(self.rows, _csv([_row(record) for record in ordered]).encode())

    def earlier_points(self) -> set[str] | None:
        """Return the ids that the file asked for last time, None if there was none."""
        try:
            return {each["id"] for each in json.loads((self.path / "points.json").read_bytes())}
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write_points(self, points: Iterable[Point]) -> None:
        """Keep what the file asks for."""
        atomic_json(self.path / "points.json", [asdict(point) for point in points])


def _row(record: Record) -> Mapping[str, Any]:
    """Return the row of a point, which says that it is one."""
    said = str(record.row.get("source_ref") or "")
    return {**record.row, "source_ref": ", ".join(filter(None, [said, f"point {record.id}"]))}


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    if columns:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


@contextmanager
def _lock_file(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock a file unless somebody else has; whether it is ours."""
    try:
        import fcntl
    except ImportError:
        raise MissingExtra("a sweep needs file locks and process groups: Linux or macOS.") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise BadInput(f"the disk of the folder has no file locks: {error.strerror}. Valid: another --out.") from None
    return True
