"""``fitted/``: numbers that no datasheet has, fitted together on measured rows, with how well and on what."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from walltime.catalog.loader import data_root, read_toml
from walltime.catalog.schema import Number
from walltime.problems import BadInput

if TYPE_CHECKING:
    from walltime.catalog.calibration_record import CalibrationRecord

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
    """Passes of one kind of memory-bound kernel, and why; whether they are in 32 bits whatever the tensor is in."""

    forward: int
    backward: int
    note: str
    in_32_bits: bool = False


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


class PriorsRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``fitted/priors_cpu.toml``: where the fit of a processor's training steps starts, and how far it may go."""

    schema: Literal[1]
    accelerator: FittedBlock
    stack: FittedBlock


R = TypeVar("R", MemoryRecord, KernelsRecord, LinksRecord, PassesRecord, TrainingRecord, PriorsRecord)


def kernels_record(accelerator: str) -> KernelsRecord:
    """Return the fitted kernels of an accelerator, of the catalog or of a calibration."""
    own = _calibration(accelerator)
    return _catalog_kernels(accelerator) if own is None else own.kernels


def links_record(network: str) -> LinksRecord:
    """Return the fitted links of a network, of the catalog or of a calibration."""
    own = _calibration(network)
    return _catalog_links(network) if own is None else own.links


def _calibration(name: str) -> "CalibrationRecord | None":
    from walltime.catalog.calibrations import calibration_record  # which needs this module

    return calibration_record(name)


@functools.cache
def _catalog_kernels(accelerator: str) -> KernelsRecord:
    return _read(f"kernels/{accelerator}.toml", KernelsRecord)


@functools.cache
def _catalog_links(network: str) -> LinksRecord:
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
def cpu_priors_record() -> PriorsRecord:
    """Return what is known of a processor in training before its rows: wide guesses."""
    return _read("priors_cpu.toml", PriorsRecord)


@functools.cache
def passes_record() -> PassesRecord:
    """Return the counted passes of memory-bound kernels."""
    return _read("passes.toml", PassesRecord)


def accelerator_blocks(accelerator: str) -> list[FittedBlock]:
    """Return what bears on an accelerator in training, later blocks over earlier: the usual, its family's, its own."""
    record, own = training_record(), _calibration(accelerator)
    family = record.family_of(accelerator if own is None else own.based_on)
    found = [record.accelerator["default"], record.accelerator.get(family), None if own is None else own.chip]
    return [block for block in found if block is not None]


def stack_blocks(stack: str, accelerator: str) -> list[FittedBlock]:
    """Return what bears on a software stack on an accelerator, likewise: the usual, the stack's, the calibration's."""
    record, own = training_record(), _calibration(accelerator)
    found = [record.stack["default"], record.stack.get(stack), None if own is None else own.stack.get(stack)]
    return [block for block in found if block is not None]


def fitted_accelerator(accelerator: str) -> FittedBlock | None:
    """Return what an accelerator itself was found to sustain in training: by a calibration, else by the catalog."""
    own = _calibration(accelerator)
    return training_record().accelerator.get(accelerator) if own is None else own.chip


def fitted_stack(stack: str, accelerator: str) -> FittedBlock | None:
    """Return what a software stack itself was found to add: on a calibrated machine, else anywhere."""
    own = _calibration(accelerator)
    return (None if own is None else own.stack.get(stack)) or training_record().stack.get(stack)


def known_usable_bytes(accelerator: str) -> Number | None:
    """Return the memory of an accelerator that software can use; None where it was not seen. [B]"""
    own = _calibration(accelerator)
    if own is not None and own.usable_bytes is not None:
        return own.usable_bytes
    return memory_record().usable.get(accelerator if own is None else own.based_on)


def fitted_ids(kind: str) -> list[str]:
    """Return the catalog's ids for which there is a record: ``kernels`` or ``links``."""
    return list(_fitted_ids(kind))


@functools.cache
def _fitted_ids(kind: str) -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in (data_root() / _ROOT / kind).glob("*.toml")))


def _read(name: str, kind: type[R]) -> R:
    path: Path = data_root() / _ROOT / name
    if not path.exists():
        raise BadInput(f"no fitted numbers for {path.stem!r}. Valid: {', '.join(fitted_ids(path.parent.name))}.")
    raw: dict[str, Any] = read_toml(path)
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise BadInput(f"{path.name}: {error}") from None
