"""What was measured on one machine: any mix of files of rows, told apart by their headers."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from walltime.catalog.calibrations import RowsFile, calibration_record
from walltime.measure.collective_rows import CollectiveRow, read_collective_rows
from walltime.measure.kernel_rows import MATMUL_OPS, MEMORY_OPS, KernelRow, read_kernel_rows
from walltime.problems import BadInput, unknown
from walltime.validate.chips import accelerator_of
from walltime.validate.measured import CORE, MeasuredRow, read_measured
from walltime.validate.rows import csv_lines, file_text

ENVIRONMENTS = "environments.json"
"""File beside rows that says what each was measured with, by the id in the row."""
_KINDS: Mapping[str, tuple[str, ...]] = {
    "kernels": ("op", "dtype", "latency_ms"),
    "collectives": ("collective", "size_bytes"),
    "training": ("model_name", "global_batch_seqs"),
}
"""Columns by which a file is known."""
Row = KernelRow | CollectiveRow | MeasuredRow
R = TypeVar("R", KernelRow, CollectiveRow, MeasuredRow)
_READERS: Mapping[str, Callable[[Path], Sequence[Any]]] = {
    "kernels": read_kernel_rows,
    "collectives": read_collective_rows,
    "training": read_measured,
}


@dataclass(frozen=True)
class MachineRows:
    """Rows of one machine.

    Attributes
    ----------
    gpu_names
        What the rows call its accelerator.
    based_on
        That accelerator in the catalog; empty where it has none.
    kernels, collectives, training
        The rows.
    files
        Where they are from.
    environments
        What they were measured with, where a file beside them says so.
    contents
        What each file holds: ``bf16 matmuls``, ``attention forward``, ``collectives``, ``training steps``, ...
    """

    gpu_names: tuple[str, ...]
    based_on: str
    kernels: tuple[KernelRow, ...]
    collectives: tuple[CollectiveRow, ...]
    training: tuple[MeasuredRow, ...]
    files: tuple[RowsFile, ...]
    environments: tuple[Mapping[str, Any], ...]
    contents: tuple[frozenset[str], ...] = ()

    @property
    def num_rows(self) -> int:
        """Rows of all kinds."""
        return len(self.kernels) + len(self.collectives) + len(self.training)


def read_machine(paths: Sequence[Path], gpu: str | None = None) -> MachineRows:
    """Read files of measured rows of one machine.

    Parameters
    ----------
    paths
        Of kernels, collectives and training steps, in any order.
    gpu
        The accelerator whose rows are taken: as the rows call it, or its id in the catalog. All rows are of one
        unless this says which.

    Raises
    ------
    BadInput
        A file is of none of these kinds, the same rows are there twice, or rows are of several accelerators.
    """
    read = [(path, kind := _kind(path), list(_READERS[kind](path))) for path in paths]
    names = {label: accelerator_name(label) for label in {row.gpu: None for _, _, rows in read for row in rows}}
    chosen = _chosen(names, gpu)
    kept = [(path, kind, [row for row in rows if names[row.gpu] == chosen]) for path, kind, rows in read]
    of_kind = {kind: tuple(row for _, other, rows in kept if other == kind for row in rows) for kind in _KINDS}
    used = [(path, rows) for path, _, rows in kept if rows]
    files = tuple(_file(path, len(rows)) for path, rows in used)
    _check_distinct([path for path, _ in used], files)
    return MachineRows(
        gpu_names=tuple(dict.fromkeys(row.gpu for _, rows in used for row in rows)),
        based_on=catalog_accelerator(chosen),
        kernels=of_kind["kernels"],
        collectives=of_kind["collectives"],
        training=of_kind["training"],
        files=files,
        environments=_environments([path for path, _ in used], [row for _, rows in used for row in rows]),
        contents=tuple(frozenset(map(_content, rows)) for _, rows in used),
    )


def _kind(path: Path) -> str:
    """Return which kind of rows a file has."""
    _, header = next(csv_lines(path, file_text(path)), (0, []))
    for kind, columns in _KINDS.items():
        if set(columns) <= {name.strip() for name in header}:
            return kind
    valid = "; ".join(f"{', '.join(columns)} ({kind})" for kind, columns in _KINDS.items())
    raise BadInput(f"{path}: its header is of no measured rows. Valid are columns: {valid}.")


def _chosen(names: Mapping[str, str], gpu: str | None) -> str:
    """Return the accelerator whose rows are taken, of those that rows name."""
    accelerators = list(dict.fromkeys(names.values()))
    if not accelerators:
        raise BadInput("no rows in these files.")
    if "" in accelerators:
        raise BadInput("column gpu is empty in some rows. Valid: what the accelerator is called.")
    if gpu is not None:
        by_label = {label.lower(): name for label, name in names.items()} | {
            name.lower(): name for name in accelerators
        }
        if gpu.lower() not in by_label:
            raise unknown("--gpu", gpu, accelerators)
        return by_label[gpu.lower()]
    if len(accelerators) > 1:
        shown = ", ".join(repr(name) for name in accelerators)
        raise BadInput(f"rows of {len(accelerators)} accelerators: {shown}. Valid: --gpu with one of them.")
    return accelerators[0]


def accelerator_name(gpu: str) -> str:
    """Return the accelerator of rows: its id in the catalog, or what the rows call it where that has none."""
    return catalog_accelerator(gpu) or gpu


def catalog_accelerator(gpu: str) -> str:
    """Return the id in the catalog of what rows call an accelerator, empty if there is none."""
    found = accelerator_of(MeasuredRow(gpu=gpu)) if gpu else None
    if not found:
        return ""
    calibrated = calibration_record(found)
    return found if calibrated is None else calibrated.based_on


def _file(path: Path, rows: int) -> RowsFile:
    return RowsFile(path=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), rows=rows)


def _content(row: Row) -> str:
    """Return what a row is of, as provenance calls it."""
    if isinstance(row, MeasuredRow):
        return "training steps"
    if isinstance(row, CollectiveRow):
        return "collectives"
    if row.op in MEMORY_OPS:
        return "memory-bound kernels"
    return f"{row.dtype} matmuls" if row.op in MATMUL_OPS else row.op.replace("_", " ")


def _check_distinct(paths: Sequence[Path], files: Sequence[RowsFile]) -> None:
    """Refuse the same rows twice: they would count twice."""
    seen: dict[str, Path] = {}
    for path, file in zip(paths, files, strict=True):
        if file.sha256 in seen:
            raise BadInput(f"{seen[file.sha256]} and {path} hold the same rows. Valid: each file once.")
        seen[file.sha256] = path


def _environments(paths: Sequence[Path], rows: Sequence[Row]) -> tuple[Mapping[str, Any], ...]:
    """Return the manifests that rows name, from files beside them; those that are not there are left out."""
    known: dict[str, Mapping[str, Any]] = {}
    for folder in dict.fromkeys(path.absolute().parent for path in paths):
        known |= _manifests(folder / ENVIRONMENTS)
    named = dict.fromkeys(environment_id(row) for row in rows)
    return tuple(known[name] for name in named if name in known)


def environment_id(row: Row) -> str:
    """Return the id of what a row was measured with, empty if it does not say."""
    if isinstance(row, MeasuredRow):
        return row.other.get("environment_id", "") or row.other.get("environment", "")
    return row.environment


def _manifests(path: Path) -> dict[str, Mapping[str, Any]]:
    """Return manifests by id; a file that is no such thing has none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if isinstance(content, list):
        content = {each.get("id", ""): each for each in content if isinstance(each, dict)}
    if not isinstance(content, dict):
        return {}
    return {str(name): {"id": str(name), **each} for name, each in content.items() if isinstance(each, dict)}


def training_rows(rows: MachineRows) -> list[MeasuredRow]:
    """Return the training rows that count: of the core scope, with a time."""
    return [row for row in rows.training if row.scope == CORE and row.status != "oom"]
