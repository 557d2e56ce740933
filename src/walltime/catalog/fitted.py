"""``fitted/``: numbers that no datasheet has, fitted together on measured rows, with how well and on what."""

import functools
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from walltime.catalog.loader import data_root, read_toml
from walltime.catalog.schema import Number
from walltime.problems import BadInput

_ROOT = "fitted"


class FittedBlock(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Numbers that were fitted together, or are estimated from kin.

    Attributes
    ----------
    kind
        ``fitted``, or ``estimate`` where no row decides and ``note`` says from what.
    values
        The numbers by name; their meaning is that of the record they fill.
    source, locator
        Key in ``sources.bib`` of the measurements, and which of them.
    rows, median_error, p90_error
        How many rows they were fitted on, and the relative errors there: never a prediction.
    held_out_median_error, held_out_p90_error
        The same on rows left out of the fit.
    estimated
        Names of values that the rows do not decide.
    low, high
        Range of values, where it is known; estimates have one.
    """

    kind: Literal["fitted", "estimate"]
    values: dict[str, float]
    source: str = ""
    locator: str = ""
    note: str = ""
    rows: int = 0
    median_error: float | None = None
    p90_error: float | None = None
    held_out_median_error: float | None = None
    held_out_p90_error: float | None = None
    estimated: list[str] = []
    low: dict[str, float] = {}
    high: dict[str, float] = {}

    def __post_init__(self) -> None:
        """Enforce the provenance rules."""
        if self.kind == "fitted" and not (self.source and self.locator and self.rows):
            raise ValueError("a fitted block needs `source`, `locator` and `rows`")
        if self.kind == "estimate" and not self.note:
            raise ValueError("an estimated block needs a `note`")
        for name, low in self.low.items():
            if not low <= self.values[name] <= self.high[name]:
                raise ValueError(f"{name} lies between its low and its high")


class AttentionRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A fused attention kernel on one accelerator; fields are those of `walltime.physics.kernels.AttentionKernel`."""

    forward: FittedBlock
    backward: FittedBlock
    full_head_dim: int
    block_len: int
    num_cores: int
    latency_s: float
    note: str = ""


class KernelsRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``fitted/kernels/<accelerator>.toml``: matmul and attention kernels by themselves."""

    schema: Literal[1]
    accelerator: str
    matmul: dict[str, FittedBlock]
    attention: dict[str, AttentionRecord] = {}


class LinkBlock(FittedBlock, frozen=True):
    """One level of a network, as collectives find it."""

    name: str


class LinksRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``fitted/links/<network>.toml``: levels from the innermost outwards."""

    schema: Literal[1]
    network: str
    level: list[LinkBlock]


class PassCount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Passes of one kind of memory-bound kernel, and why."""

    forward: int
    backward: int
    note: str


class PassesRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``fitted/passes.toml``: passes of memory-bound kernels, counted."""

    schema: Literal[1]
    kind: Literal["derived"]
    passes: dict[str, PassCount]


class TrainingRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``fitted/training.toml``: what accelerators sustain and what software stacks add, in whole training steps."""

    schema: Literal[1]
    accelerator: dict[str, FittedBlock]
    stack: dict[str, FittedBlock]
    family: dict[str, str] = {}

    def family_of(self, accelerator: str) -> str:
        """Return the accelerator under whose name one's numbers stand: the same chip in another form."""
        return self.family.get(accelerator, accelerator)


class MemoryRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``fitted/memory.toml``: what software stacks keep in memory, and how much of it accelerators offer."""

    schema: Literal[1]
    stack: dict[str, FittedBlock]
    usable: dict[str, Number]


R = TypeVar("R", MemoryRecord, KernelsRecord, LinksRecord, PassesRecord, TrainingRecord)


@functools.cache
def kernels_record(accelerator: str) -> KernelsRecord:
    """Return the fitted kernels of an accelerator."""
    return _read(f"kernels/{accelerator}.toml", KernelsRecord)


@functools.cache
def links_record(network: str) -> LinksRecord:
    """Return the fitted links of a network."""
    return _read(f"links/{network}.toml", LinksRecord)


@functools.cache
def training_record() -> TrainingRecord:
    """Return what was fitted on whole training steps."""
    return _read("training.toml", TrainingRecord)


@functools.cache
def memory_record() -> MemoryRecord:
    """Return what stacks keep in memory."""
    return _read("memory.toml", MemoryRecord)


@functools.cache
def passes_record() -> PassesRecord:
    """Return the counted passes of memory-bound kernels."""
    return _read("passes.toml", PassesRecord)


def fitted_ids(kind: str) -> list[str]:
    """Return the ids for which there is a record: ``kernels`` or ``links``."""
    return sorted(path.stem for path in (data_root() / _ROOT / kind).glob("*.toml"))


def _read(name: str, kind: type[R]) -> R:
    path: Path = data_root() / _ROOT / name
    if not path.exists():
        raise BadInput(f"no fitted numbers for {path.stem!r}. Valid: {', '.join(fitted_ids(path.parent.name))}.")
    raw: dict[str, Any] = read_toml(path)
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise BadInput(f"{path.name}: {error}") from None
