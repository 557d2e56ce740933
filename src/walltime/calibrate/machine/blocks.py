"""Fits as the blocks of a calibration file: values, ranges, what rows decide, and how well they are met."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from walltime.arrays import Floats
from walltime.calibrate.machine.numbers import Fitted
from walltime.calibrate.machine.quality import RowsFit
from walltime.catalog import Number
from walltime.catalog.fitted import FittedBlock

_DIGITS = 5


@dataclass(frozen=True)
class Source:
    """Where the numbers of a calibration are from: its id, and the files of its rows with what each holds."""

    calibration: str
    files: Mapping[str, Collection[str]]

    def locator(self, what: str) -> str:
        """Return which rows, and the files that hold such rows: all of them if that is not one kind of rows."""
        named = [name for name, kinds in self.files.items() if any(kind in what or what in kind for kind in kinds)]
        return f"{what} of {', '.join(named or self.files)}"

    def measured(self, value: float, what: str, note: str = "") -> Number:
        """Return a number that rows show without a fit."""
        return Number(rounded(value), "measured", source=self.calibration, locator=self.locator(what), note=note)


def rounded(value: float) -> float:
    """Return a number to five digits."""
    return float(f"{value:.{_DIGITS}g}")


def fitted_block(
    source: Source,
    what: str,
    values: Mapping[str, float],
    fit: RowsFit,
    others: Iterable[str] = (),
    numbers: Fitted | None = None,
    note: str = "",
) -> FittedBlock:
    """Return a block of fitted numbers.

    Parameters
    ----------
    source, what
        The calibration, and which of its rows.
    values
        All numbers of the block.
    fit
        The fit.
    others
        Numbers that were not fitted, and that a reader might take for it.
    numbers
        Those of the fit that the block has, if not all.
    note
        What else there is to say.
    """
    mine = numbers or fit.numbers
    shown = {name: rounded(value) for name, value in values.items()}
    fitted = [name for name in mine.values if name in shown]
    return FittedBlock(
        kind="fitted",
        values=shown,
        source=source.calibration,
        locator=source.locator(what),
        note=note,
        rows=len(fit.errors),
        median_error=_median(fit.errors),
        p90_error=_p90(fit.errors),
        held_out_median_error=_median(fit.errors_held_out),
        held_out_p90_error=_p90(fit.errors_held_out),
        estimated=[*(name for name in fitted if name in mine.estimated), *others],
        low={name: min(rounded(mine.low[name]), shown[name]) for name in fitted},
        high={name: max(rounded(mine.high[name]), shown[name]) for name in fitted},
    )


def _median(errors: Floats) -> float | None:
    return round(float(np.median(np.abs(errors))), 4) if len(errors) else None


def _p90(errors: Floats) -> float | None:
    return round(float(np.quantile(np.abs(errors), 0.9)), 4) if len(errors) else None
