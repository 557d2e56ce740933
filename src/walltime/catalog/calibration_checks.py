"""What a calibration may say: finite numbers, of names that the catalog has."""

import math
from collections.abc import Iterator, Set

from walltime.catalog.calibration_record import CalibrationRecord
from walltime.catalog.fitted import FittedBlock, training_record
from walltime.catalog.loader import DATASHEET, parameter_set
from walltime.catalog.schema import AcceleratorRecord
from walltime.problems import BadInput, unknown


def check_calibration(record: CalibrationRecord) -> None:
    """Refuse numbers that no machine has, and a machine that it is based on that the catalog does not have.

    Raises
    ------
    BadInput
        With the field, its value and what would be valid.
    """
    if record.based_on and record.based_on not in parameter_set(DATASHEET).ids(AcceleratorRecord):
        raise unknown("accelerator in based_on", record.based_on, parameter_set(DATASHEET).ids(AcceleratorRecord))
    for field, value in _values(record):
        name = field.rpartition(".")[2]
        if not value >= 0 or (value == 0 and name in _POSITIVE) or (math.isinf(value) and name not in _MAY_BE_ENDLESS):
            least = "above 0" if name in _POSITIVE else "of at least 0"
            raise BadInput(f"{field}={value:g} is not possible. Valid: a finite number {least}.")
    for field, block, known in _training_blocks(record):
        if strange := sorted(block.values.keys() - known):
            raise unknown(f"number in {field}", strange[0], known)


_POSITIVE = ("bytes_per_s", "hbm_bytes_per_s", "hbm_bytes", "usable_bytes", "sustained", "memory_efficiency")

_MAY_BE_ENDLESS = ("max_rails", "tail_k")


def _values(record: CalibrationRecord) -> Iterator[tuple[str, float]]:
    """Yield every number that has to be finite by its path; caches and clocks are the theory's, and may be endless."""
    chip = record.accelerator
    yield from ((f"accelerator.{name}", float(getattr(chip, name).value)) for name in ("hbm_bytes", "hbm_bytes_per_s"))
    yield from ((f"accelerator.peak_flop_per_s.{k}", float(v.value)) for k, v in chip.peak_flop_per_s.items())
    for place, level in enumerate(record.network.level):
        yield f"network.level.{place}.bytes_per_s", float(level.bytes_per_s.value)
        yield f"network.level.{place}.latency_s", float(level.latency_s.value)
    if record.usable_bytes is not None:
        yield "usable_bytes", float(record.usable_bytes.value)
    for path, block in _blocks(record):
        yield from ((f"{path}.{name}", value) for name, value in block.values.items())


def _blocks(record: CalibrationRecord) -> Iterator[tuple[str, FittedBlock]]:
    yield from ((f"kernels.matmul.{name}", block) for name, block in record.kernels.matmul.items())
    for name, kernel in record.kernels.attention.items():
        yield from ((f"kernels.attention.{name}.{way}", getattr(kernel, way)) for way in ("forward", "backward"))
    yield from ((f"links.level.{place}", block) for place, block in enumerate(record.links.level))
    yield from ((path, block) for path, block, _ in _training_blocks(record))


def _training_blocks(record: CalibrationRecord) -> Iterator[tuple[str, FittedBlock, Set[str]]]:
    """Yield what is said of whole training steps, with the names that its numbers may have."""
    known = training_record()
    if record.chip is not None:
        yield "chip", record.chip, known.accelerator["default"].values.keys()
    for stack, block in record.stack.items():
        yield f"stack.{stack}", block, known.stack["default"].values.keys()
