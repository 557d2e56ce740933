"""Pairing every item of an array with each of its options."""

from collections.abc import Sequence

import numpy as np

from walltime.arrays import Floats, Indices


def expand(options: Sequence[Floats], which: Indices) -> tuple[Indices, Floats]:
    """Pair every item with each of its options.

    Parameters
    ----------
    options : sequence of (options, width)
        At least one list of options; a list may be empty.
    which : (items,)
        Which list belongs to an item.

    Returns
    -------
    index : (pairs,)
        The item of each pair.
    values : (width, pairs)
        The option of each pair.
    """
    counts = np.array([len(o) for o in options], dtype=np.intp)
    repeats = counts[which]
    index = np.repeat(np.arange(len(which)), repeats)
    first = np.cumsum(counts) - counts
    within = np.arange(len(index)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    return index, np.concatenate(options)[first[which][index] + within].T
