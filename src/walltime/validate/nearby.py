"""How far off are we near here? The measured rows nearest to a question, predicted beside their measurement."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from walltime.catalog.calibrations import kin_of
from walltime.plan import Plan
from walltime.validate.cases import Case, case_of
from walltime.validate.chips import accelerator_of
from walltime.validate.frameworks import stack_of
from walltime.validate.layouts import DEFAULTS
from walltime.validate.measured import MeasuredRow, core_rows
from walltime.validate.notes import precision_of
from walltime.validate.predict import predictions
from walltime.workload import Training
from walltime.workload.parameters import num_parameters

_OTHER_ACCELERATOR, _OTHER_KIND, _OTHER_STACK, _OTHER_VERSION, _OTHER_PRECISION = 4.0, 3.0, 2.0, 0.5, 1.0
_PER_DOUBLING = {"params": 1.0, "gpus": 0.25, "seq_len": 0.25, "tp": 0.125, "pp": 0.125, "cp": 0.25}
"""What a difference weighs: a rule, not fitted. Twice the parameters are as far as another precision."""
_UNSAID = 2.0
_SHORT_LIST = 24
_COVERED = {
    "params": ("parameters", "{:.3g}"),
    "gpus": ("accelerators", "{:,.0f}"),
    "seq_len": ("tokens a sequence", "{:,.0f}"),
}
_BEYOND = 2
"""Twice the largest measured, or half the smallest, is beyond what validation covers."""


@dataclass(frozen=True)
class Nearby:
    """A measured row beside its prediction.

    Attributes
    ----------
    case
        The row as the engine was asked about it.
    measured_s, predicted_s
        Step time. [s]
    distance
        From the question, by the rule of this module.
    """

    case: Case
    measured_s: float
    predicted_s: float
    distance: float

    @property
    def error(self) -> float:
        """Predicted over measured step time, less one."""
        return self.predicted_s / self.measured_s - 1


@dataclass(frozen=True)
class _Place:
    """Where a question or a row lies; ``sizes`` lacks what a row does not say."""

    accelerator: str
    stack: str
    precision: str
    is_moe: bool
    sizes: Mapping[str, float]

    def distance(self, other: "_Place") -> float:
        far = _OTHER_ACCELERATOR * (self.accelerator != other.accelerator) + _OTHER_KIND * (self.is_moe != other.is_moe)
        far += _OTHER_PRECISION * (self.precision != other.precision)
        if self.stack != other.stack:
            far += _OTHER_VERSION if undated(self.stack) == undated(other.stack) else _OTHER_STACK
        for name, weight in _PER_DOUBLING.items():
            here, there = self.sizes.get(name), other.sizes.get(name)
            far += weight * abs(math.log2(here / there)) if here and there else _UNSAID
        return far


def undated(stack: str) -> str:
    """Return the id of a stack without the year of its release."""
    return re.sub(r"-20\d\d$", "", stack)


def _place(training: Training, plan: Plan, accelerator: str, stack: str) -> _Place:
    sizes = {
        "params": float(num_parameters(training.model)),
        "gpus": plan.num_gpus,
        "seq_len": training.seq_len,
        "tp": plan.tp,
        "pp": plan.pp,
        "cp": plan.cp,
    }
    return _Place(accelerator, stack, plan.precision, training.model.is_moe, sizes)


def _place_of(row: MeasuredRow, accelerator: str) -> _Place:
    """Return about where a row lies, from its columns alone."""
    stack = stack_of(row)
    said = {
        "params": row.params_b and row.params_b * 1e9,
        "gpus": row.n_gpus,
        "seq_len": row.seq_len,
        "tp": row.tp or 1,
        "pp": row.pp or 1,
        "cp": row.cp or 1,
    }
    sizes = {name: float(value) for name, value in said.items() if value}
    precision = precision_of(row) or DEFAULTS[stack].precision
    return _Place(accelerator, stack, precision, bool(row.n_experts), sizes)


class Neighbourhood:
    """Measured rows around a question.

    Parameters
    ----------
    training, plan
        What is trained and how.
    accelerator, stack
        Ids of the catalog, or of a calibration: its neighbours are those of what it is based on.
    paths
        Files of measured rows; those that walltime ships by default.
    """

    def __init__(
        self, training: Training, plan: Plan, accelerator: str, stack: str, paths: Sequence[Path] | None = None
    ) -> None:
        self.asked = _place(training, plan, kin_of(accelerator), stack)
        rows = core_rows(paths)
        self.rows = [(row, _place_of(row, chip)) for row in rows if (chip := accelerator_of(row))]

    def nearest(self, count: int = 3) -> list[Nearby]:
        """Return the nearest rows whose step time was measured, one a source, model, precision and number of GPUs."""
        listed = sorted(self.rows, key=lambda row: row[1].distance(self.asked))[:_SHORT_LIST]
        cases = [case for row, _ in listed if isinstance(case := case_of(row), Case) and case.step_time_s]
        chosen: dict[tuple[object, ...], Case] = {}
        for case in sorted(cases, key=self._distance):
            chosen.setdefault((case.source_id, case.row.model_name, case.plan.precision, case.num_gpus), case)
        nearest = list(chosen.values())[:count]
        times_s = predictions(nearest).step_time_s if nearest else np.array([])
        return [
            Nearby(case, case.step_time_s or math.nan, float(time_s), self._distance(case))
            for case, time_s in zip(nearest, times_s, strict=True)
        ]

    def _distance(self, case: Case) -> float:
        return _place(case.training, case.plan, case.machine.accelerator, case.stack).distance(self.asked)

    def beyond(self) -> list[str]:
        """Return in words in what the question lies beyond the rows that walltime ships."""
        asked = self.asked
        here = [place for _, place in self.rows if place.accelerator == asked.accelerator]
        if not here:
            return [f"no shipped measurement is on {asked.accelerator}: validation does not cover it"]
        said = []
        if not any(place.stack == asked.stack for place in here):
            said.append(f"no shipped measurement on {asked.accelerator} is of the stack {asked.stack}")
        if not any(place.precision == asked.precision for place in here):
            said.append(f"no shipped measurement on {asked.accelerator} is in {asked.precision}")
        if asked.is_moe and not any(place.is_moe for place in here):
            said.append(f"no shipped measurement on {asked.accelerator} is of a mixture of experts")
        for name, (what, shown) in _COVERED.items():
            measured = [place.sizes[name] for place in here if name in place.sizes]
            said += _outside(what, asked.sizes[name], measured, shown, asked.accelerator)
        return said


def _outside(what: str, asked: float, measured: Sequence[float], shown: str, accelerator: str) -> list[str]:
    if not measured or min(measured) / _BEYOND <= asked <= max(measured) * _BEYOND:
        return []
    most, word = (max(measured), "at most") if asked > max(measured) else (min(measured), "at least")
    return [f"{shown.format(asked)} {what}: the shipped measurements on {accelerator} have {word} {shown.format(most)}"]


__all__ = ["Nearby", "Neighbourhood"]
