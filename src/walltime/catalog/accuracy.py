"""``accuracy.toml``: how far predictions are from measurements, as validation found it."""

import functools

from walltime.catalog.loader import convert, data_root, read_toml
from walltime.catalog.schema import AccuracyRecord


@functools.cache
def accuracy_record() -> AccuracyRecord:
    """Return what validation found."""
    path = data_root() / "accuracy.toml"
    return convert(read_toml(path), AccuracyRecord, path)


def step_time_median_error() -> float:
    """Return the median relative error of predicted step times: two plans closer than this are as good."""
    return float(accuracy_record().step_time_median_error.value)
