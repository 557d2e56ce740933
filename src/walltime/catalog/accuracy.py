"""``accuracy.toml``: how far predictions are from measurements, as validation found it."""

import functools
from typing import Literal

import msgspec

from walltime.catalog.loader import data_root, read_toml
from walltime.catalog.schema import Number
from walltime.problems import BadInput


class AccuracyRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Errors of predicted step times, over all sources, each weighing the same."""

    schema: Literal[1]
    step_time_median_error: Number
    step_time_p90_error: Number
    mean_regret: Number


@functools.cache
def accuracy_record() -> AccuracyRecord:
    """Return what validation found."""
    path = data_root() / "accuracy.toml"
    try:
        return msgspec.convert(read_toml(path), AccuracyRecord)
    except msgspec.ValidationError as error:
        raise BadInput(f"{path.name}: {error}") from None


def step_time_median_error() -> float:
    """Return the median relative error of predicted step times: two plans closer than this are as good."""
    return float(accuracy_record().step_time_median_error.value)
