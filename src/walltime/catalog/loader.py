"""Finding and reading the files of ``data/``: by id, alias or name, from the datasheets or a parameter set."""

import functools
import hashlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from walltime.catalog.schema import (
    AcceleratorRecord,
    ClusterRecord,
    EfficiencyRecord,
    ModelRecord,
    NetworkRecord,
    StudyRecord,
)
from walltime.problems import BadInput, unknown

R = TypeVar("R", AcceleratorRecord, ClusterRecord, EfficiencyRecord, ModelRecord, NetworkRecord)

DATASHEET = "datasheet"
"""The name under which the catalog proper, not a study's parameter set, is asked for."""

_FOLDERS: dict[type, str] = {
    AcceleratorRecord: "accelerators",
    ClusterRecord: "clusters",
    EfficiencyRecord: "efficiencies",
    ModelRecord: "models",
    NetworkRecord: "networks",
}

IN_CALIBRATIONS: dict[type, str] = {
    AcceleratorRecord: "accelerator",
    ClusterRecord: "cluster",
    EfficiencyRecord: "efficiency",
    NetworkRecord: "network",
}
"""Kinds of record that a calibration has one of, by the name of its field."""

_SINGULAR = {
    "accelerators": "accelerator",
    "clusters": "accelerator or cluster",
    "efficiencies": "efficiency record",
    "models": "model",
    "networks": "network",
}


def data_root() -> Path:
    """Return the folder of the data files that walltime ships."""
    return Path(__file__).parent.parent / "data"


def erdil2024_root() -> Path:
    """Return the folder of the parameter set of Erdil & Schneider-Joseph (2024)."""
    return data_root() / "parameter_sets" / "Erdil2024"


@functools.cache
def data_version() -> str:
    """Return a short hash of every data file, so that a result says which numbers it stands on."""
    digest = hashlib.sha256()
    root = data_root()
    for path in sorted(p for p in root.rglob("*") if p.suffix in (".toml", ".csv", ".bib")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; a missing or unparsable one is bad input that names the file and the place."""
    try:
        return toml_content(path, path.read_bytes())
    except OSError as error:
        raise BadInput(f"cannot read {str(path)!r}: {error.strerror or error}.") from None


def toml_content(path: Path, content: bytes) -> dict[str, Any]:
    """Return what a TOML file of this content says; what is no TOML is bad input, as in `read_toml`."""
    try:
        return tomllib.loads(content.decode())
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path}: not valid TOML: {error}.") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path}: not a UTF-8 text file.") from None
    except ValueError as error:
        raise BadInput(f"cannot read {str(path)!r}: {error}.") from None
    except RecursionError:
        raise BadInput(f"{path}: nested too deeply.") from None


class ParameterSet:
    """A folder of accelerators, efficiencies, networks and clusters that belong together.

    Parameters
    ----------
    name
        ``datasheet``, or ``AuthorYear`` for the numbers of one study.
    root
        The folder.
    """

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self.root = root

    def __repr__(self) -> str:
        return f"ParameterSet({self.name!r})"

    def ids(self, kind: type[R]) -> list[str]:
        """Return the ids of all records of one kind."""
        return sorted(path.stem for path in (self.root / _FOLDERS[kind]).glob("*.toml"))

    def __contains__(self, cluster: str) -> bool:
        """Whether there is a cluster of this name, or an accelerator, whose usual cluster it then means."""
        return self.find(ClusterRecord, cluster) is not None or self.find(AcceleratorRecord, cluster) is not None

    def get(self, kind: type[R], name: str) -> R:
        """Return the record with this id, alias or full name.

        Raises
        ------
        BadInput
            There is none; the message has the nearest name.
        """
        found = self.find(kind, name)
        if found is None:
            folder = _FOLDERS[kind]
            raise unknown(_SINGULAR[folder], name, self.names(kind), see=f"walltime show {folder}")
        return found

    def all(self, kind: type[R]) -> list[R]:
        """Return every record of one kind, by id."""
        return [self._load(kind, name) for name in self.ids(kind)]

    def study(self) -> StudyRecord:
        """Return the constants of the study that this parameter set belongs to."""
        return convert(read_toml(self.root / "study.toml"), StudyRecord, self.root / "study.toml")

    def find(self, kind: type[R], name: str) -> R | None:
        """Return the record with this id, alias or full name, None if there is none.

        Beside the datasheets stand calibrations: what is not of the catalog may be a machine that somebody measured.
        """
        found = self.find_own(kind, name)
        if found is not None or not self._has_calibrations(kind) or self.knows(name):
            return found
        from walltime.catalog.calibrations import calibration_called  # which needs this module

        own = calibration_called(name)
        return None if own is None else getattr(own, IN_CALIBRATIONS[kind])

    def knows(self, name: str) -> bool:
        """Whether an accelerator, a cluster or a network of the set has this id, alias or full name."""
        return name.strip().lower() in self._known

    @functools.cached_property
    def _known(self) -> frozenset[str]:
        machines = (*self.all(AcceleratorRecord), *self.all(ClusterRecord))
        labels = [label for record in machines for label in _labels(record)]
        return frozenset(label.lower() for label in (*labels, *self.ids(NetworkRecord)))

    def find_own(self, kind: type[R], name: str) -> R | None:
        """Return the record as `find` does, but of no calibration."""
        if name in self.ids(kind):
            return self._load(kind, name)
        wanted = name.strip().lower()
        for record in self.all(kind):
            if wanted in (label.lower() for label in _labels(record)):
                return record
        return None

    def names(self, kind: type[R]) -> Iterator[str]:
        """Yield every id, full name and alias of one kind, and the ids of calibrations."""
        for record in self.all(kind):
            yield from _labels(record)
        if self._has_calibrations(kind):
            from walltime.catalog.calibrations import calibration_files  # which needs this module

            yield from calibration_files()

    def _has_calibrations(self, kind: type[R]) -> bool:
        return self.name == DATASHEET and kind in IN_CALIBRATIONS

    @functools.cache  # noqa: B019  (parameter sets live as long as the process)
    def _load(self, kind: type[R], name: str) -> R:
        path = self.root / _FOLDERS[kind] / f"{name}.toml"
        return convert(self._merged(kind, name), kind, path)

    def _merged(self, kind: type[R], name: str) -> dict[str, Any]:
        """Read one file over the one that it is ``based_on``."""
        raw = read_toml(self.root / _FOLDERS[kind] / f"{name}.toml")
        base = raw.pop("based_on", None)
        return raw if base is None else self._merged(kind, base) | raw


def _labels(record: Any) -> list[str]:
    if isinstance(record, EfficiencyRecord):
        return [record.accelerator]
    return [record.id, record.name, *getattr(record, "aliases", [])]


def convert(raw: dict[str, Any], kind: type[Any], path: Path) -> Any:
    """Return a file's content as a record; what is wrong with it is bad input that names the file."""
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise BadInput(f"{path.name}: {plain_words(error)}") from None


_TYPES = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
}


def plain_words(error: msgspec.ValidationError) -> str:
    """Return what is wrong with a file's content; a wrong type is named as in TOML: ``text``, not ``str``."""
    wrong_type = re.fullmatch(r"Expected `([^`]+)`, got `([^`]+)`(?: - at `\$\.?([^`]*)`)?", str(error))
    if not wrong_type:
        return str(error)
    wanted = " or ".join(_TYPES.get(kind, kind) for kind in wrong_type[1].split(" | ") if kind != "null")
    return f"{wrong_type[3] or 'the file'} must be {wanted}, not {_TYPES.get(wrong_type[2], wrong_type[2])}"


@functools.cache
def parameter_set(name: str) -> ParameterSet:
    """Return the parameter set of this name: ``datasheet``, ``Erdil2024`` or one that an entry point offers."""
    builtin = {DATASHEET: data_root, "Erdil2024": erdil2024_root}
    for known, root in builtin.items():
        if known.lower() == name.lower():
            return ParameterSet(known, root())
    from importlib.metadata import entry_points

    offered = {point.name: point for point in entry_points(group="walltime.parameter_sets")}
    if name in offered:
        return ParameterSet(name, Path(offered[name].load()()))
    raise unknown("parameter set", name, [*builtin, *offered])


def parameter_sets() -> list[str]:
    """Return the names of every parameter set: the datasheets first."""
    from importlib.metadata import entry_points

    offered = {point.name for point in entry_points(group="walltime.parameter_sets")}
    return [DATASHEET, *sorted(offered | {"Erdil2024"})]
