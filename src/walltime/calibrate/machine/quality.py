"""How well numbers meet their rows: before the fit, on the rows fitted, and on rows held out."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from walltime.arrays import Floats, Mask
from walltime.catalog.calibrations import Quality

_DIGITS = 4


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
        return f"{what} of the points at random (seed {self.seed}), each by a fit on the rest"


def held_out(
    points: Sequence[Hashable], holdout: Holdout, errors: Callable[[Mask, Mask], Floats]
) -> Floats:
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
    return found[~np.isnan(found)]


def quality(
    part: str, errors: Floats, before: Floats | None = None, out: Floats | None = None, holdout: str = ""
) -> Quality:
    """Return how well a part meets its rows, from relative errors: after the fit, before it, and held out."""
    seen, first, left = _figures(errors), _figures(before), _figures(out)
    return Quality(
        part=part,
        rows=len(errors),
        median_error_before=first[0],
        p90_error_before=first[1],
        median_error=seen[0] or 0.0,
        p90_error=seen[1] or 0.0,
        held_out_median_error=left[0],
        held_out_p90_error=left[1],
        held_out=holdout if left[0] is not None else "",
        residuals=[round(float(error), _DIGITS) for error in errors],
    )


def _figures(errors: Floats | None) -> tuple[float | None, float | None]:
    if errors is None or not len(errors):
        return None, None
    size = np.abs(errors)
    return round(float(np.median(size)), _DIGITS), round(float(np.quantile(size, 0.9)), _DIGITS)
