"""``accuracy.toml``: how far predictions are from measurements, as validation found it."""

import functools

from walltime.catalog.loader import convert, data_root, read_toml
from walltime.catalog.schema import AccuracyRecord


@functools.cache
def accuracy_record() -> AccuracyRecord:
    """Return what validation found."""
    path = data_root() / "accuracy.toml"
    return convert(read_toml(path), AccuracyRecord, path)


def median_error(*, of_memory: bool = False) -> float:
    """Return the median relative error of predicted step times, or of memory: plans closer than this are as good."""
    record = accuracy_record()
    return float((record.memory_median_error if of_memory else record.step_time_median_error).value)
