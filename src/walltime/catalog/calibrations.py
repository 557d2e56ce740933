"""Calibrations: what one machine does, as it was measured, in a file of its own.

A calibration is a cluster of the catalog that somebody measured: one file has its accelerator, its network and what
was fitted to the rows measured there, each in the shape that the catalog's own files have. Its id names all of them.
"""

import functools
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from walltime.catalog.calibration_checks import check_calibration
from walltime.catalog.calibration_record import CalibrationRecord, Origin, Quality, RowsFile
from walltime.catalog.loader import DATASHEET, IN_CALIBRATIONS, data_root, parameter_set, plain_words, toml_content
from walltime.problems import BadInput
from walltime.units import shortened

__all__ = [
    "CALIBRATION",
    "FOLDER_VARIABLE",
    "CalibrationRecord",
    "Origin",
    "Quality",
    "RowsFile",
    "broken_calibrations",
    "calibrated",
    "calibration_called",
    "calibration_files",
    "calibration_record",
    "calibrations",
    "calibrations_labelled",
    "catalog_ids",
    "check_calibration_id",
    "is_calibration_file",
    "kin_of",
    "read_calibration",
    "registered",
    "user_folder",
]

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?<!\.toml)")
_ID_IN_WORDS = "valid are letters, digits, dots, dashes and underscores"
_REMEMBERED = 16
"""Calibrations of which the latest content is remembered."""

CALIBRATION = "calibration"
"""Whose numbers a machine has that somebody measured, where that is said beside `DATASHEET`."""
FOLDER_VARIABLE = "WALLTIME_CALIBRATIONS"
"""Environment variable that names the folder of the user's calibrations instead of the usual one."""


def user_folder() -> Path:
    """Return the folder that `walltime calibrate` writes to."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named)
    import platformdirs

    return platformdirs.user_data_path("walltime") / "calibrations"


def calibration_files() -> dict[str, Path]:
    """Return the file of each calibration by id: the user's own, and those that walltime ships."""
    return {path.stem: path for path in _paths()}


def _paths() -> list[Path]:
    return [path for folder in (user_folder(), _shipped_folder()) for path in sorted(folder.glob("*.toml"))]


def _shipped_folder() -> Path:
    return data_root() / "calibrations"


def _file_of(calibration_id: str) -> Path | None:
    """Return the file of one calibration without looking at the others."""
    paths = (folder / f"{calibration_id}.toml" for folder in (_shipped_folder(), user_folder()))
    return next((path for path in paths if path.is_file()), None)


_registered: dict[str, CalibrationRecord] = {}


@contextmanager
def registered(record: CalibrationRecord) -> Iterator[None]:
    """Have a calibration found by its id without a file: while it is being fitted, for example."""
    before = _registered.get(record.id)
    _registered[record.id] = record
    try:
        yield
    finally:
        if before is None:
            del _registered[record.id]
        else:
            _registered[record.id] = before


def calibration_record(calibration_id: str) -> CalibrationRecord | None:
    """Return the calibration of this id, or in the file of this path; None if there is none.

    Files are read as they are now: one that was written since is not mistaken for what it was.

    Parameters
    ----------
    calibration_id
        An id, or a path that ends in ``.toml``, which then is the id of the machine. The catalog's own ids are of no
        calibration.

    Raises
    ------
    BadInput
        Its file is not a calibration; the message names the file and the field.
    """
    if calibration_id in _registered:
        return _registered[calibration_id]
    if calibration_id in catalog_ids():
        return None
    if calibration_id.endswith(".toml"):
        return _at_path(calibration_id)
    path = _file_of(calibration_id) if _ID.fullmatch(calibration_id) else None
    return None if path is None else read_calibration(path)


def _at_path(name: str) -> CalibrationRecord | None:
    path = Path(name)
    return _renamed(read_calibration(path), name) if path.is_file() and is_calibration_file(path) else None


@functools.lru_cache(maxsize=_REMEMBERED)
def _renamed(record: CalibrationRecord, name: str) -> CalibrationRecord:
    return record.called(name)


def calibration_called(name: str) -> CalibrationRecord | None:
    """Return the calibration of this id, name or alias; None if there is none.

    Raises
    ------
    BadInput
        Several machines are called so, or the file of this id is broken. Other broken files are passed over.
    """
    if (found := calibration_record(name)) is not None:
        return found
    named = calibrations_labelled(name)
    if len(named) > 1:
        ids = ", ".join(one.id for one in named)
        raise BadInput(f"several calibrations are called {shortened(name)}. Valid: the id of one: {ids}.")
    return named[0] if named else None


def calibrations_labelled(name: str) -> list[CalibrationRecord]:
    """Return the calibrations whose id, name or alias this is, whether in capitals or not."""
    wanted = name.strip().lower()
    return [one for one in calibrations() if wanted in (label.lower() for label in one.labels)]


def calibrations() -> list[CalibrationRecord]:
    """Return every calibration that can be read, by id."""
    known = dict(_registered)
    for calibration_id, path in calibration_files().items():
        with suppress(BadInput):
            known.setdefault(calibration_id, read_calibration(path))
    return [known[calibration_id] for calibration_id in sorted(known)]


def calibrated(kind: type[Any]) -> list[Any]:
    """Return the record of one kind of every calibration that can be read: accelerators, networks, ..."""
    return [getattr(own, IN_CALIBRATIONS[kind]) for own in calibrations()]


def broken_calibrations() -> dict[Path, str]:
    """Return what is wrong with each file that is no calibration."""
    found = {}
    for path in _paths():
        try:
            read_calibration(path)
        except BadInput as problem:
            found[path] = str(problem)
    return found


def kin_of(accelerator_id: str) -> str:
    """Return the catalog's accelerator whose prices, node and measured rows are one's too: its base, or itself.

    Parameters
    ----------
    accelerator_id
        Of the catalog or of a calibration.
    """
    found = calibration_record(accelerator_id)
    return accelerator_id if found is None else found.based_on or accelerator_id


def is_calibration_file(path: Path) -> bool:
    """Whether the content of a TOML file is meant for a calibration, not for a user's own cluster."""
    return bool({"origin", "kernels", "links", "efficiency"} & _parsed(path, _content(path)).keys())


@functools.cache
def catalog_ids() -> frozenset[str]:
    """Return the ids of the catalog's own accelerators, networks and clusters."""
    folders = ("accelerators", "networks", "clusters")
    return frozenset(path.stem for folder in folders for path in (data_root() / folder).glob("*.toml"))


def check_calibration_id(calibration_id: str) -> None:
    """Refuse an id that the catalog has already, or that is no plain word.

    Raises
    ------
    BadInput
        With what would be valid.
    """
    if not _ID.fullmatch(calibration_id):
        raise BadInput(f"id={shortened(calibration_id)}: {_ID_IN_WORDS}, for example my-cluster.")
    is_shipped = (_shipped_folder() / f"{calibration_id}.toml").is_file()
    if is_shipped or parameter_set(DATASHEET).knows(calibration_id):
        raise BadInput(f"id={calibration_id!r} is the catalog's. Valid: another name, for example my-{calibration_id}.")


def read_calibration(path: Path) -> CalibrationRecord:
    """Read a calibration file.

    Raises
    ------
    BadInput
        It cannot be read or is not a calibration, its id is not that of the file or is the catalog's, or a number of it
        cannot be; the message names the file and the field.
    """
    return _read(path, _content(path))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {str(path)!r}: {error.strerror or error}.") from None


@functools.lru_cache(maxsize=_REMEMBERED)
def _parsed(path: Path, content: bytes) -> Mapping[str, Any]:
    return toml_content(path, content)


@functools.lru_cache(maxsize=_REMEMBERED)
def _read(path: Path, content: bytes) -> CalibrationRecord:
    raw = _parsed(path, content)
    try:
        record = msgspec.convert(raw, CalibrationRecord)
    except msgspec.ValidationError as error:
        raise BadInput(f"{path}: {plain_words(error)}.") from None
    if record.id != path.stem:
        raise BadInput(f"{path}: its id is {record.id!r}. Valid: {path.stem!r}, as the file is called.")
    try:
        if path.parent.resolve() != _shipped_folder().resolve():
            check_calibration_id(record.id)
        check_calibration(record)
    except BadInput as problem:
        raise BadInput(f"{path}: {problem}") from None
    return record
