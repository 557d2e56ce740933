"""The journal of a sweep: a line for each finished point, appended and on the disk before the next one starts.

A line carries a checksum of its record. What a crash tore, or a disk damaged, is set aside and its point measured
again; whole lines are never touched.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from walltime.durable import append_bytes, atomic_bytes, sync_folder
from walltime.problems import BadInput

Status = Literal["ok", "oom", "failed", "timeout"]
STATUSES: tuple[Status, ...] = ("ok", "oom", "failed", "timeout")
MEASURED: tuple[Status, ...] = ("ok", "oom")
"""Those that are an answer: that the memory does not do is one."""
_CHECKSUM_DIGITS = 16
_LINE = re.compile(rb'\{"sha256":"([0-9a-f]+)","record":(.*)\}', re.DOTALL)


@dataclass(frozen=True)
class Record:
    """What became of a point.

    Attributes
    ----------
    id, request
        The point, and what it asked.
    status
        ``ok``, ``oom``, ``failed`` or ``timeout``.
    row
        The measured row; empty unless ``ok`` or ``oom``.
    result, environment
        The rest of what the point wrote.
    started
        Date and time, UTC.
    elapsed_s
        From the start of the last attempt to its end; None where the end was not seen. [s]
    attempts
        How often it was started.
    exit_code
        Of the last attempt, negative for a signal; None where the end was not seen.
    message
        One line that says what went wrong.
    last_lines
        The end of what a point that failed printed.
    """

    id: str
    request: Mapping[str, Any]
    status: Status
    row: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    started: str = ""
    elapsed_s: float | None = None
    attempts: int = 1
    exit_code: int | None = None
    message: str = ""
    last_lines: tuple[str, ...] = ()

    @property
    def is_measured(self) -> bool:
        """Whether there is an answer."""
        return self.status in MEASURED


def line_of(record: Record) -> bytes:
    """Return a record as a line of the journal."""
    text = json.dumps(asdict(record), separators=(",", ":"), default=str).encode()
    return b'{"sha256":"%s","record":%s}\n' % (_checksum(text), text)


def record_of(line: bytes) -> Record | None:
    """Return the record of a line, None if it is torn or damaged."""
    match = _LINE.fullmatch(line.rstrip(b"\n"))
    if match is None or match[1] != _checksum(match[2]):
        return None
    try:
        values = json.loads(match[2])
        return Record(**values | {"last_lines": tuple(values["last_lines"])})
    except (ValueError, KeyError, TypeError):
        return None  # whole, and of another version of the program


def _checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:_CHECKSUM_DIGITS].encode()


class Journal:
    """The journal of a folder, which one process writes.

    Parameters
    ----------
    path
        Of the file; it need not be there.
    mend
        Whether damaged lines are set aside, into a file beside it; otherwise they are passed over.

    Raises
    ------
    BadInput
        The file cannot be read, or not mended.

    Attributes
    ----------
    records
        The last record of each point, by id, in the order of their first.
    num_damaged
        Lines that were set aside or passed over.
    """

    def __init__(self, path: Path, *, mend: bool = True) -> None:
        self.path = path
        self.records: dict[str, Record] = {}
        self.num_damaged = 0
        content = _content(path)
        whole, damaged = _sorted_out(content)
        self.num_damaged = len(damaged)
        self.records = {record.id: record for _, record in whole}
        if mend and content != b"".join(line for line, _ in whole):
            self._mend([line for line, _ in whole], damaged)

    def append(self, record: Record) -> None:
        """Add a record; it is on the disk when this returns."""
        is_new = not self.path.exists()
        append_bytes(self.path, line_of(record))
        if is_new:
            sync_folder(self.path.parent)
        self.records[record.id] = record

    def _mend(self, whole: list[bytes], damaged: list[bytes]) -> None:
        for line in damaged:
            append_bytes(self.path.with_name(f"{self.path.name}.damaged"), line.rstrip(b"\n") + b"\n")
        atomic_bytes(self.path, b"".join(whole))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise BadInput(f"cannot read {str(path)!r}: {error.strerror or error}.") from None


def _sorted_out(content: bytes) -> tuple[list[tuple[bytes, Record]], list[bytes]]:
    """Return the whole lines with their records, each ended properly, and the damaged ones."""
    whole, damaged = [], []
    for line in _lines(content):
        record = record_of(line)
        if record is None:
            damaged.append(line)
        else:
            whole.append((line.rstrip(b"\n") + b"\n", record))
    return whole, damaged


def _lines(content: bytes) -> Iterator[bytes]:
    return (line for line in content.split(b"\n") if line.strip())
