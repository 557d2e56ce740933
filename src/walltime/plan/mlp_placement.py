"""Placing degrees on network levels: every way to share out each level's size."""

import functools

import numpy as np

from walltime.arrays import Floats, Indices
from walltime.plan.mlp_plan import DEGREES, MlpPlanBatch


def level_sizes(num_gpus: int, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Return how many groups each network level joins in a cluster.

    A level joins as many as it can, or, where that does not divide the cluster, the most that do: 2^i accelerators
    use 64 of each 72 that an NVLink domain could join, and the rest of the domain is not part of the cluster.

    Parameters
    ----------
    num_gpus
        Size of the cluster.
    sizes
        Level sizes of the network, all but the last.

    Returns
    -------
    tuple of int, (levels,)
        Their product is ``num_gpus``.
    """
    joined = []
    left = num_gpus
    for size in sizes:
        inside = next(d for d in range(min(size, left), 0, -1) if left % d == 0)
        joined.append(inside)
        left //= inside
    return (*joined, left)


@functools.cache
def _ordered_factorisations(size: int, parts: int) -> Floats:
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


def placements(plans: MlpPlanBatch, sizes: tuple[int, ...]) -> tuple[MlpPlanBatch, Indices]:
    """Return every placement of every plan on the network levels.

    Parameters
    ----------
    plans
        One level; their degrees multiply to the product of ``sizes``.
    sizes
        From `level_sizes`, (levels,).

    Returns
    -------
    placed : MlpPlanBatch
        All placements; each level's degrees multiply to its size.
    index : (placements,)
        Which of ``plans`` each one places.
    """
    left = np.stack([getattr(plans, name)[:, 0] for name in DEGREES])
    index = np.arange(len(plans))
    levels: list[Floats] = []
    for size in sizes[:-1]:
        ways = _ordered_factorisations(size, len(DEGREES)).T
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
    placed = MlpPlanBatch(
        **degrees,
        num_microbatches=plans.num_microbatches[index],
        interleave=plans.interleave[index],
        schedule=plans.schedule,
        recompute=plans.recompute,
    )
    return placed, index
