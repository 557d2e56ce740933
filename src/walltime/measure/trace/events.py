"""Saved traces of PyTorch's profiler (Kineto, Chrome's JSON) as arrays: of each event what it is, and when it was.

Names in a trace are text from elsewhere: they are matched, and never shown, run or used as paths.
"""

import gzip
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from walltime.measure.trace.names import Role, kind_of, role_of, step_number
from walltime.problems import BadInput

_GZIP = b"\x1f\x8b"
_NS_PER_US = 1000
_LATEST_US = 4e15
"""Beyond this a moment in nanoseconds does not fit 64 bits. [us]"""
_NO_GROUP = -1
_KNOWN_NAMES = 1 << 16
"""Names that are kept in mind while a trace is read; traces have some thousands, and hostile ones any number."""
_VALID = "Valid: a file of torch.profiler's export_chrome_trace, .json or .json.gz"


class _Details(msgspec.Struct, rename={"collective": "Collective name", "group": "Process Group Description"}):
    """What a kernel of NCCL says of itself since PyTorch 2.4."""

    collective: Any = None
    group: Any = None


class _Event(msgspec.Struct):
    ph: str = ""
    cat: str = ""
    name: str = ""
    ts: float | None = None
    dur: float | None = None
    pid: Any = None
    tid: Any = None
    args: _Details | None = None


class _Document(msgspec.Struct):
    events: list[msgspec.Raw] = msgspec.field(name="traceEvents")
    distributed: Any = msgspec.field(name="distributedInfo", default=None)


@dataclass(frozen=True)
class Trace:
    """The events of a trace that say something of a step, in the order of the file.

    Attributes
    ----------
    path
        Of the file.
    rank
        Of the process, where the trace says so.
    backend
        Of its collectives, where the trace says so: ``nccl``, ``gloo``.
    role, kind : (events,)
        Of `walltime.measure.trace.names.Role`, and positions in ``KINDS``.
    begin_ns, end_ns : (events,)
        From any zero. [ns]
    lane : (events,)
        Thread of the host, or stream of the accelerator.
    device : (events,)
        Process, or accelerator.
    label : (events,)
        Number of a step.
    group : (events,)
        Position in ``groups`` of what the ranks of a collective call themselves; -1 where the trace does not say.
    groups
        Those names.
    notes
        What was left out, a line each.
    """

    path: Path
    rank: int | None
    backend: str
    role: NDArray[np.int8]
    kind: NDArray[np.int8]
    begin_ns: NDArray[np.int64]
    end_ns: NDArray[np.int64]
    lane: NDArray[np.int32]
    device: NDArray[np.int32]
    label: NDArray[np.int64]
    group: NDArray[np.int32]
    groups: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def has(self, *roles: Role) -> bool:
        """Whether any event has one of the roles."""
        return bool(self.of(*roles).any())

    def of(self, *roles: Role) -> NDArray[np.bool_]:
        """Return which events have one of the roles, (events,)."""
        return np.isin(self.role, roles)


def read_trace(path: Path) -> Trace:
    """Read a trace.

    Raises
    ------
    BadInput
        It cannot be read, or is no trace.
    """
    content = _content(path)
    document = _document(path, content)
    columns = _Columns()
    for event in _complete_events(path, document.events):
        columns.add(event)
    return columns.trace(path, document.distributed)


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(_GZIP) else content
    except (OSError, EOFError, zlib.error) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"cannot read {str(path)!r}: {said.rstrip('.')}. {_VALID}.") from None


def _document(path: Path, content: bytes) -> _Document:
    """Return the trace undecoded, whether the file holds an object or a bare list of events."""
    try:
        if content.lstrip()[:1] == b"[":
            return _Document(msgspec.json.decode(content, type=list[msgspec.Raw]))
        return msgspec.json.decode(content, type=_Document)
    except msgspec.ValidationError as error:
        raise BadInput(f"{path}: not a trace: {error}. {_VALID}.") from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not whole, valid JSON: {error}. {_VALID}.") from None


def _complete_events(path: Path, raws: Sequence[msgspec.Raw]) -> Iterator[_Event]:
    """Yield events one by one, so that no more than one of them is ever decoded."""
    decode = msgspec.json.Decoder(_Event).decode
    for position, raw in enumerate(raws):
        try:
            yield decode(raw)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise BadInput(f"{path}: traceEvents[{position}] is no event of a trace: {error}.") from None


@dataclass
class _Columns:
    """The columns of a trace while it is read."""

    numbers: dict[str, "array[int]"] = field(
        default_factory=lambda: {
            **{name: array("b") for name in ("role", "kind")},
            **{name: array("q") for name in ("begin_ns", "end_ns", "label")},
            **{name: array("i") for name in ("lane", "device", "group")},
        }
    )
    names: dict[str, dict[str, int]] = field(default_factory=lambda: {"lane": {}, "device": {}, "group": {}})
    left_out: Counter[str] = field(default_factory=Counter)
    role_of: Callable[[str, str], tuple[Role, int]] = field(default_factory=lambda: lru_cache(_KNOWN_NAMES)(role_of))

    def add(self, event: _Event) -> None:
        """Add an event that lasts, if it says something of a step."""
        if event.ph != "X":
            if event.ph in ("B", "E"):
                self.left_out["events in halves (ph B and E)"] += 1
            return
        role, kind = self.role_of(event.cat, event.name)
        if role is Role.NOTHING:
            return
        if event.dur is None or event.ts is None or event.dur < 0:
            self.left_out["events without a begin and a length"] += 1
        elif abs(event.ts) + event.dur > _LATEST_US:
            self.left_out["events at no possible time"] += 1
        else:
            self._append(event, role, kind, event.ts, event.dur)

    def _append(self, event: _Event, role: Role, kind: int, begin_us: float, length_us: float) -> None:
        group = _NO_GROUP
        if role is Role.COLLECTIVE and event.args is not None:
            if isinstance(event.args.collective, str):
                kind = kind_of(event.args.collective)
            if isinstance(event.args.group, str):
                group = self._position("group", event.args.group)
        columns = self.numbers
        begin_ns = round(begin_us * _NS_PER_US)
        columns["role"].append(role)
        columns["kind"].append(kind)
        columns["begin_ns"].append(begin_ns)
        columns["end_ns"].append(begin_ns + round(length_us * _NS_PER_US))
        columns["lane"].append(self._position("lane", f"{event.pid} {event.tid}"))
        columns["device"].append(self._position("device", str(event.pid)))
        columns["label"].append(step_number(event.name) or 0)
        columns["group"].append(group)

    def _position(self, column: str, name: str) -> int:
        names = self.names[column]
        return names.setdefault(name, len(names))

    def trace(self, path: Path, distributed: Any) -> Trace:
        """Return what was read."""
        said = distributed if isinstance(distributed, dict) else {}
        rank, backend = said.get("rank"), said.get("backend")
        return Trace(
            path=path,
            rank=rank if isinstance(rank, int) and not isinstance(rank, bool) else None,
            backend=backend if isinstance(backend, str) else "",
            groups=tuple(self.names["group"]),
            notes=tuple(f"left out: {count} {what}" for what, count in sorted(self.left_out.items())),
            **{name: np.array(column) for name, column in self.numbers.items()},
        )
