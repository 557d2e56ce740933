"""``accuracy.toml``: how far predictions are from measurements, as validation found it."""

import functools
from dataclasses import dataclass

from walltime.catalog.calibrations import calibration_record
from walltime.catalog.loader import convert, data_root, read_toml
from walltime.catalog.schema import AccuracyRecord


@functools.cache
def accuracy_record() -> AccuracyRecord:
    """Return what validation found."""
    path = data_root() / "accuracy.toml"
    return convert(read_toml(path), AccuracyRecord, path)


@dataclass(frozen=True)
class MedianError:
    """Median relative error of predictions, and whose it is, in words."""

    share: float
    said: str


def median_error(accelerator_id: str = "", *, of_memory: bool = False) -> MedianError:
    """Return the median relative error of predicted step times, or of memory: plans closer than this are as good.

    Parameters
    ----------
    accelerator_id
        Of the catalog, or of a calibration: then the error is that on its own steps, held out of the fit where some
        were, if it was fitted on any.
    of_memory
        Of memory, which calibrations are not fitted on.
    """
    own = calibration_record(accelerator_id) if accelerator_id else None
    steps = own.step_quality if own and not of_memory else None
    if own and steps and steps.held_out_median_error is not None:
        return MedianError(steps.held_out_median_error, f"the median error of step times held out of {own.id}'s fit")
    if own and steps:
        return MedianError(steps.median_error, f"the median error of the step times that {own.id} was fitted on")
    record, what = accuracy_record(), "memory" if of_memory else "step times"
    number = record.memory_median_error if of_memory else record.step_time_median_error
    return MedianError(float(number.value), f"the median error of our {what}" + (" on other machines" if own else ""))
