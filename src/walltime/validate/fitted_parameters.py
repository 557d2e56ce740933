"""Which numbers were fitted on training rows, and on whose: what makes a prediction one in sample."""

import functools
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from walltime.catalog.calibrations import CalibrationRecord, calibration_record
from walltime.catalog.fitted import (
    FittedBlock,
    fitted_ids,
    kernels_record,
    links_record,
    memory_record,
    training_record,
)
from walltime.validate.cases import Case

USUAL = "default"
"""Owner of the numbers of accelerators and stacks that have none of their own."""


@dataclass(frozen=True)
class FittedParameter:
    """One number that was fitted on whole training steps.

    Attributes
    ----------
    kind, owner, name
        Whose it is: for example ``stack``, ``fsdp1``, ``host_layer_s``.
    value, low, high
        With the range of two standard deviations, where it is known.
    decided
        Whether rows decide it, rather than the value that it has for want of any.
    rows, fitted_on
        Rows that bear on it, and the sources that they are from.
    """

    kind: str
    owner: str
    name: str
    value: float
    low: float | None
    high: float | None
    decided: bool
    rows: int
    fitted_on: tuple[str, ...]


def training_parameters() -> list[FittedParameter]:
    """Return every number that was fitted on whole training steps."""
    return [
        FittedParameter(
            kind=kind,
            owner=owner,
            name=name,
            value=value,
            low=block.low.get(name),
            high=block.high.get(name),
            decided=name not in block.estimated,
            rows=block.rows,
            fitted_on=_sources(block),
        )
        for kind, owner, block in _blocks()
        for name, value in block.values.items()
    ]


def num_fitted_elsewhere() -> dict[str, int]:
    """Return how many numbers were fitted on other than step times: on kernels, on collectives, on memory."""
    kernels = [kernels_record(name) for name in fitted_ids("kernels")]
    attention = [block for r in kernels for each in r.attention.values() for block in (each.forward, each.backward)]
    blocks: dict[str, list[FittedBlock]] = {
        "kernels": [*(block for record in kernels for block in record.matmul.values()), *attention],
        "links": [level for name in fitted_ids("links") for level in links_record(name).level],
        "memory": list(memory_record().stack.values()),
    }
    return {name: sum(_num_fitted(block) for block in found) for name, found in blocks.items()}


def is_in_sample(case: Case) -> bool:
    """Whether the numbers of a case's accelerator or software stack were fitted on its source, or its file."""
    own = calibration_record(case.machine.accelerator)
    if own is not None and _is_file_of(own, case.row.file):
        return True
    family = training_record().family_of(case.machine.accelerator)
    owners = (("accelerator", family), ("stack", case.stack))
    return any(case.source_id in _sources_of(kind, owner) for kind, owner in owners)


def _is_file_of(own: CalibrationRecord, file: str) -> bool:
    """Whether a calibration was fitted on a file with the content that this one has now."""
    path = Path(file)
    if not path.is_file():
        return False
    return _hash(path, path.stat().st_mtime_ns) in {one.sha256 for one in own.origin.files}


@functools.lru_cache(maxsize=64)
def _hash(path: Path, _changed_ns: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def memory_is_in_sample(case: Case) -> bool:
    """Whether what a case's software stack keeps in memory was set on rows of its source."""
    block = memory_record().stack.get(case.stack)
    return block is not None and block.kind == "fitted" and case.source_id in memory_sources(block)


def memory_sources(block: FittedBlock) -> dict[str, int]:
    """Return how many rows of each source a stack's numbers of memory were set on, as the locator says."""
    found = re.findall(r"(\w+): (\d+)[^;]* rows", block.locator)
    return {source: int(count) for source, count in found}


@functools.cache
def _sources_of(kind: str, owner: str) -> frozenset[str]:
    blocks = getattr(training_record(), kind)
    block = blocks.get(owner, blocks.get(USUAL))
    return frozenset(_sources(block)) if block and block.kind == "fitted" else frozenset()


def _blocks() -> Iterator[tuple[str, str, FittedBlock]]:
    record = training_record()
    for kind in ("accelerator", "stack"):
        for owner, block in getattr(record, kind).items():
            if block.kind == "fitted":
                yield kind, owner, block


def _sources(block: FittedBlock) -> tuple[str, ...]:
    return tuple(name.strip() for name in block.locator.split(",") if name.strip())


def _num_fitted(block: FittedBlock) -> int:
    return len(block.values) - len(block.estimated) if block.kind == "fitted" else 0
