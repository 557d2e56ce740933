"""Placing degrees on network levels: every way to share out each level's size."""

import functools

import numpy as np
from numpy.typing import NDArray

from walltime.plan.plan import DEGREES, PlanBatch

Floats = NDArray[np.float64]


def level_sizes(num_gpus: float, sizes: tuple[int, ...]) -> tuple[float, ...] | None:
    """Return how many groups each network level joins in a cluster, clipped where the cluster is smaller.

    Parameters
    ----------
    num_gpus
        Size of the cluster.
    sizes
        Level sizes of the network, all but the last.

    Returns
    -------
    tuple of float, (levels,), or None
        Their product is ``num_gpus``. None where the cluster does not fill its groups: it must be a multiple of
        every group that it exceeds.
    """
    clipped = []
    left = num_gpus
    for size in sizes:
        inside = min(size, left)
        if left % inside:
            return None
        clipped.append(inside)
        left = left / inside
    return (*clipped, left)


@functools.cache
def _ordered_factorisations(size: int, parts: int) -> NDArray[np.float64]:
    """Every way to write ``size`` as an ordered product, (ways, parts)."""
    if parts == 1:
        return np.array([[size]], dtype=np.float64)
    rows = [
        (divisor, *rest)
        for divisor in range(1, size + 1)
        if size % divisor == 0
        for rest in _ordered_factorisations(size // divisor, parts - 1)
    ]
    return np.array(rows, dtype=np.float64)


def placements(plans: PlanBatch, sizes: tuple[float, ...]) -> tuple[PlanBatch, NDArray[np.intp]]:
    """Return every placement of every plan on the network levels.

    Parameters
    ----------
    plans
        One level; their degrees multiply to the product of ``sizes``.
    sizes
        From `level_sizes`, (levels,).

    Returns
    -------
    placed : PlanBatch
        All placements; each level's degrees multiply to its size.
    index : (placements,)
        Which of ``plans`` each one places.
    """
    left = np.stack([getattr(plans, name)[:, 0] for name in DEGREES])
    index = np.arange(len(plans))
    levels: list[Floats] = []
    for size in sizes[:-1]:
        ways = _ordered_factorisations(int(size), len(DEGREES)).T
        possible = np.ones((left.shape[1], ways.shape[1]), dtype=bool)
        for degree, factor in zip(left, ways, strict=True):
            share = degree[:, None] / factor
            possible &= share == np.floor(share)
        which, way = np.nonzero(possible)
        chosen = ways[:, way]
        left = left[:, which] / chosen
        levels = [level[:, which] for level in levels] + [chosen]
        index = index[which]
    levels.append(left)
    degrees = {name: np.asfortranarray(np.stack([level[i] for level in levels]).T) for i, name in enumerate(DEGREES)}
    placed = PlanBatch(
        **degrees,
        num_microbatches=plans.num_microbatches[index],
        interleave=plans.interleave[index],
        schedule=plans.schedule,
        recompute=plans.recompute,
    )
    return placed, index
