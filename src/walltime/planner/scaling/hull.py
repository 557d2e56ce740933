"""What is worth having: the sizes that no other one, and no mix of others, beats at the same cost."""

import itertools
import math
from collections.abc import Sequence

from walltime.planner.scaling.returns import Totals, cost_of, gain_of

HALF = 0.5
"""Below this share of what the best size returns, an added accelerator returns less than half of what it costs."""


def hull(sizes: Sequence[Totals], *, goodput: bool = False) -> tuple[Totals, ...]:
    """Return the corners of the least concave curve of gain over cost above nothing and all sizes, ascending.

    The first is the size that returns most for its cost, the last the one that gives most: of a larger cluster that
    gives less, the rest is left idle.

    Parameters
    ----------
    sizes
        All that are possible.
    goodput
        Whether failures and checkpoints count.

    Returns
    -------
    tuple of Totals
        Empty where a gain is not known, or nothing is gained.
    """
    cost = cost_of(sizes)
    corners = [(0.0, 0.0)]
    kept: list[Totals] = []
    for one in sorted(sizes, key=lambda one: _at(one, cost, goodput) or (0.0, 0.0)):
        at = _at(one, cost, goodput)
        if at is None:
            return ()
        if at[1] <= corners[-1][1]:
            continue
        while kept and _slope(corners[-1], at) >= _slope(corners[-2], corners[-1]):
            corners.pop()
            kept.pop()
        corners.append(at)
        kept.append(one)
    return tuple(kept)


def hull_shares(sizes: Sequence[Totals], *, goodput: bool = False) -> tuple[tuple[float, float], ...]:
    """Return what an added accelerator returns along the `hull`, as pairs of a number of accelerators and a share.

    Shares are of what the best size returns for the same cost: 1 at that size, then that of each two neighbours on the
    hull, in the middle of the two in equal ratios, and 0 from the size that gives most on, if there are larger ones.
    """
    corners, cost = hull(sizes, goodput=goodput), cost_of(sizes)
    if not corners:
        return ()
    points = [_at(one, cost, goodput) or (0.0, 0.0) for one in corners]
    best = _slope((0.0, 0.0), points[0])
    shares = [(float(corners[0].num_gpus), 1.0)]
    for (before, after), ends in zip(itertools.pairwise(corners), itertools.pairwise(points), strict=True):
        shares.append((math.sqrt(before.num_gpus * after.num_gpus), _slope(*ends) / best))
    if max(one.num_gpus for one in sizes) > corners[-1].num_gpus:
        shares.append((float(corners[-1].num_gpus), 0.0))
    return tuple(shares)


def halving(sizes: Sequence[Totals], *, goodput: bool = False) -> float | None:
    """Return from how many accelerators on an added one returns less than half of what it costs.

    What it costs is what as many dollars return at the size that returns most for them. Returns are those along the
    `hull`, on which they only fall: sizes that nobody would use do not count. Where they cross one half is found
    between the `hull_shares`, on a logarithmic axis.

    Parameters
    ----------
    sizes
        All that are possible.
    goodput
        Whether failures and checkpoints count.

    Returns
    -------
    float or None
        None if that does not happen within the sizes, or is not known.

    Examples
    --------
    >>> halving([Totals(8, 8.0), Totals(32, 26.0), Totals(128, 50.0)])
    32.0
    """
    for (size, share), (next_size, next_share) in itertools.pairwise(hull_shares(sizes, goodput=goodput)):
        if next_share < HALF:
            return size * (next_size / size) ** ((share - HALF) / (share - next_share))
    return None


def shortfall(one: Totals, sizes: Sequence[Totals], *, goodput: bool = False) -> float | None:
    """Return by which share a size gives less than the `hull` does for its cost; None where that is not known."""
    cost = cost_of(sizes)
    corners = [_at(corner, cost, goodput) or (0.0, 0.0) for corner in hull(sizes, goodput=goodput)]
    at = _at(one, cost, goodput)
    if at is None or not corners:
        return None
    most = corners[-1][1]
    for before, after in itertools.pairwise([(0.0, 0.0), *corners]):
        if at[0] <= after[0]:
            most = after[1] - (after[0] - at[0]) * _slope(before, after)
            break
    return max(0.0, 1 - at[1] / most)


def _at(one: Totals, cost: str, goodput: bool) -> tuple[float, float] | None:
    """Return cost and gain of a size, None where the gain is not known."""
    gain = gain_of(one, goodput=goodput)
    return None if gain is None else (float(getattr(one, cost)), gain)


def _slope(before: tuple[float, float], after: tuple[float, float]) -> float:
    """Return the gain for each added unit of cost; what costs nothing more gains without bound."""
    more, added = after[1] - before[1], after[0] - before[0]
    return more / added if added > 0 else math.inf
