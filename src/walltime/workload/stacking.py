"""Many workloads as one: a `Training` whose numbers are arrays, so that formulas run once for all of them."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from walltime.workload.transformer import Training, Transformer


def stacked(trainings: Sequence[Training]) -> Training:
    """Return a workload whose fields are arrays (plans,), one element a workload; of texts the first is kept.

    What all share stays a plain number, so that formulas can leave out what none has.
    """
    if all(training == trainings[0] for training in trainings):
        return trainings[0]
    model = _stacked(Transformer, [training.model for training in trainings])
    whole = _stacked(Training, trainings, skip="model")
    object.__setattr__(whole, "model", model)
    return whole


def _stacked(kind: type[Any], records: Sequence[Any], skip: str = "") -> Any:
    """Fill a record's fields without its checks, which ran when each was made."""
    made = object.__new__(kind)
    for field in fields(kind):
        if field.name != skip:
            values = [getattr(record, field.name) for record in records]
            one = isinstance(values[0], str) or len(set(values)) == 1
            object.__setattr__(made, field.name, values[0] if one else np.array(values, dtype=np.float64))
    return made
