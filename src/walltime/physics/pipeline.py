"""Point-to-point traffic of pipeline stages and of experts: which interfaces between layers cross which level."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from walltime.arrays import Floats, Mask


class Crossings(NamedTuple):
    """How many of the interfaces between layers are crossed at each level, (levels,) of (plans,)."""

    volume: list[Floats]
    waits: list[Floats]


def interface_crossings(pp: Sequence[Floats], ep: Sequence[Floats], num_layers: float, interleave: Floats) -> Crossings:
    r"""Count crossings of the L - 1 interfaces between layers, per network level.

    At an interface a token changes pipeline stage at some level (or not at all) and, independently, expert rank at
    some level (or not at all); it then travels at the higher of the two. With cumulative counts F (stage changes
    at this level or below) and G (probability of changing expert rank at this level or below):

    .. math:: c_\ell = f_\ell\, G_\ell + F_{\ell-1}\, g_\ell

    Parameters
    ----------
    pp, ep : (levels,) of (plans,)
        Degrees by level, innermost first.
    num_layers
        Layers, L.
    interleave : (plans,)
        Chunks a stage, v; 1 where pp is 1.

    Returns
    -------
    Crossings
        ``volume``: crossings that carry data, where a token that stays on its expert rank carries none;
        ``waits``: crossings that wait for a message, where every interface pays the highest level that experts
        span, since the slowest token sets the pace.

    References
    ----------
    Erdil & Schneider-Joseph (2024), published program; docs: Pipeline, Experts.
    """
    stays = num_layers - interleave * np.multiply.reduce(pp, axis=0)
    stage_changes = _stage_changes(pp, interleave)
    expert_moves, expert_highest = _expert_moves(ep)
    volume, waits = [], []
    moved_below = 1 / np.multiply.reduce(ep, axis=0)
    highest_below = np.multiply.reduce(ep, axis=0) == 1
    changes_below = stays
    for changes, moves, highest in zip(stage_changes, expert_moves, expert_highest, strict=True):
        moved_below = moved_below + moves
        highest_below = highest_below | highest
        volume.append(changes * moved_below + changes_below * moves)
        waits.append(changes * highest_below + changes_below * highest)
        changes_below = changes_below + changes
    return Crossings(volume, waits)


def _stage_changes(pp: Sequence[Floats], interleave: Floats) -> list[Floats]:
    """Interfaces at which a token changes stage, by level: v p - 1 at the highest level in use, v p' (p - 1) below."""
    counts = []
    above: Floats | float = 1
    for degree in reversed(pp):
        highest = (above == 1) & (degree > 1)
        counts.append(interleave * above * (degree - 1) + (interleave - 1) * highest)
        above = above * degree
    return counts[::-1]


def _expert_moves(ep: Sequence[Floats]) -> tuple[list[Floats], list[Mask]]:
    """Probability that the next expert is reached at this level, and whether this is the highest level in use."""
    moves, highest = [], []
    above: Floats | float = 1
    for degree in reversed(ep):
        highest.append((above == 1) & (degree > 1))
        moves.append(1 / above - 1 / (above * degree))
        above = above * degree
    return moves[::-1], highest[::-1]
