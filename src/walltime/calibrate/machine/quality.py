"""How well numbers meet their rows: before the fit, on the rows fitted, and on rows held out."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from walltime.arrays import Floats, Mask
from walltime.calibrate.machine.numbers import Fitted, Prior, fit_numbers
from walltime.catalog.calibrations import Quality

_DIGITS = 4
_FROM_ALL = "peaks, bandwidths and tiles of matmuls are those of all rows, and for steps all kernels and links"
"""What a fit on a part of the rows has seen of the others."""


@dataclass(frozen=True)
class Holdout:
    """Which rows are held out of a fit that is tried on them: every point in turn, ``num_folds`` parts at random.

    Attributes
    ----------
    num_folds
        Parts; 0 or 1: none is held out.
    seed
        Of the random split.
    """

    num_folds: int
    seed: int

    def folds(self, points: Sequence[Hashable]) -> Iterator[Mask]:
        """Yield which rows each part holds out: rows of one point are always in the same part.

        Nothing where there are fewer points than parts.
        """
        names = list(dict.fromkeys(points))
        if self.num_folds < 2 or len(names) < self.num_folds:
            return
        order = np.random.default_rng(self.seed).permutation(len(names)) % self.num_folds
        part = dict(zip(names, order.tolist(), strict=True))
        each = np.array([part[point] for point in points])
        yield from (each == fold for fold in range(self.num_folds))

    def __str__(self) -> str:
        if self.num_folds < 2:
            return ""
        what = "halves" if self.num_folds == 2 else f"{self.num_folds} parts"
        return f"{what} of the points at random (seed {self.seed}), each by a fit on the rest; {_FROM_ALL}"


@dataclass(frozen=True)
class RowsFit:
    """Numbers fitted to rows, with the relative errors of the rows: predicted over measured less one.

    Attributes
    ----------
    numbers
        Values and ranges.
    errors : (rows,)
        As fitted: no prediction.
    errors_before : (rows,)
        By the catalog's numbers; None where it has no such machine.
    errors_held_out : (rows,)
        By fits that have not seen the row's point; empty if no row was held out.
    """

    numbers: Fitted
    errors: Floats
    errors_before: Floats | None
    errors_held_out: Floats

    def where(self, mask: Mask) -> "RowsFit":
        """Return the same numbers with the errors of some rows."""
        before, unseen = self.errors_before, self.errors_held_out
        return RowsFit(
            numbers=self.numbers,
            errors=self.errors[mask],
            errors_before=None if before is None else before[mask],
            errors_held_out=unseen[mask] if len(unseen) else unseen,
        )


def fit_rows(
    priors: Mapping[str, Prior],
    predicted: Callable[[Mapping[str, float]], Floats],
    measured: Floats,
    points: Sequence[Hashable],
    holdout: Holdout,
    before: Floats | None = None,
) -> RowsFit:
    """Fit numbers to rows, and try the fit on rows held out.

    Parameters
    ----------
    priors
        Of the numbers, by name.
    predicted
        Of every row, (rows,), from numbers by name.
    measured : (rows,)
    points
        What each row measures: rows of one point are held out together.
    holdout
        The split.
    before : (rows,)
        Predicted by the catalog's numbers, where it has any.
    """
    everything = np.ones(len(measured), dtype=bool)

    def fitted(seen: Mask) -> Fitted:
        return fit_numbers(priors, lambda values: np.log(predicted(values)[seen] / measured[seen]))

    def unseen(seen: Mask, out: Mask) -> Floats:
        return np.asarray(predicted(fitted(seen).values)[out] / measured[out] - 1)

    numbers = fitted(everything)
    return RowsFit(
        numbers=numbers,
        errors=np.asarray(predicted(numbers.values) / measured - 1),
        errors_before=None if before is None else np.asarray(before / measured - 1),
        errors_held_out=held_out(points, holdout, unseen),
    )


def held_out(points: Sequence[Hashable], holdout: Holdout, errors: Callable[[Mask, Mask], Floats]) -> Floats:
    """Return the relative error of each row by a fit that has not seen its point, (rows,); empty if there is none.

    Parameters
    ----------
    points
        What each row measures.
    holdout
        The split.
    errors
        Of the rows of the second mask, by a fit on those of the first.
    """
    found = np.full(len(points), np.nan)
    for out in holdout.folds(points):
        found[out] = errors(~out, out)
    return found if not np.isnan(found).all() else found[:0]


def quality_of(part: str, fit: RowsFit, holdout: Holdout) -> Quality:
    """Return how well a part meets its rows, with the error of each."""
    seen, first, left = (_figures(errors) for errors in (fit.errors, fit.errors_before, fit.errors_held_out))
    return Quality(
        part=part,
        rows=len(fit.errors),
        median_error_before=first[0],
        p90_error_before=first[1],
        median_error=seen[0] or 0.0,
        p90_error=seen[1] or 0.0,
        held_out_median_error=left[0],
        held_out_p90_error=left[1],
        held_out=str(holdout) if left[0] is not None else "",
        residuals=[round(float(error), _DIGITS) for error in fit.errors],
    )


def _figures(errors: Floats | None) -> tuple[float | None, float | None]:
    if errors is None or not len(errors):
        return None, None
    size = np.abs(errors)
    return round(float(np.median(size)), _DIGITS), round(float(np.quantile(size, 0.9)), _DIGITS)
