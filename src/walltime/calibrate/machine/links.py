"""The network of one machine, level by level, fitted to its measured collectives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from walltime.calibrate.collectives import (
    BUS_FACTOR,
    EXCLUDED_NOTES,
    RING_NOTES,
    RING_ONLY,
    SEND,
    Rows,
    predicted_s,
    time_s_of_bus_bandwidth,
)
from walltime.calibrate.machine.numbers import Prior, share
from walltime.calibrate.machine.quality import Holdout, RowsFit, fit_rows
from walltime.measure.collective_rows import OK, CollectiveRow
from walltime.physics.links import LinkLevel

LARGEST_NODE = 16
"""A level of the catalog that joins more accelerators is a rack, whose servers share it."""
_GPU = {
    "efficiency": share(0.85, 0.6, 0.97),
    "start_s": Prior(4e-6, 1e-6, 1.6e-5),
    "hop_s": Prior(1e-6, 3e-7, 3e-6),
    "tree_start_s": Prior(2e-6, 6e-7, 6e-6),
    "tree_hop_s": Prior(2e-6, 6e-7, 6e-6),
    "tree_efficiency": share(0.85, 0.5, 0.98),
    "multicast_efficiency": share(0.7, 0.4, 0.9),
    "all_to_all_efficiency": share(0.85, 0.5, 0.97),
    "peer_s": Prior(1e-6, 3e-7, 3e-6),
    "send_efficiency": share(0.85, 0.5, 0.97),
    "copy_share": share(0.2, 0.05, 0.6),
    "reduce_slowdown": Prior(1.0, 0.8, 1.25),
}
"""A network of the catalog's kind does what the catalog's does, but for a factor of three in what waits."""
_CPU = {
    "efficiency": share(0.7, 0.1, 0.98),
    "start_s": Prior(5e-5, 2e-6, 1.2e-3),
    "hop_s": Prior(3e-5, 1e-6, 1e-3),
    "tree_start_s": Prior(5e-5, 2e-6, 1.2e-3),
    "tree_hop_s": Prior(3e-5, 1e-6, 1e-3),
    "tree_efficiency": share(0.7, 0.1, 0.98),
    "all_to_all_efficiency": share(0.7, 0.1, 0.98),
    "peer_s": Prior(3e-5, 1e-6, 1e-3),
    "send_efficiency": share(0.7, 0.1, 0.98),
    "copy_share": share(0.2, 0.02, 0.8),
    "reduce_slowdown": Prior(1.5, 0.5, 4.5),
}
"""Wide: processes that send through memory or sockets wait for each other to be scheduled, and gloo adds
up what it reduces on the core that computes."""
_DECIDING = {
    "efficiency": ("all_reduce", "all_gather", "reduce_scatter", RING_ONLY),
    "start_s": ("all_reduce", "all_gather", "reduce_scatter", "alltoall", RING_ONLY, SEND),
    "hop_s": ("all_reduce", "all_gather", "reduce_scatter", RING_ONLY, SEND),
    "copy_share": ("all_gather", "reduce_scatter"),
    "reduce_slowdown": ("reduce_scatter",),
    "tree_start_s": ("all_reduce",),
    "tree_hop_s": ("all_reduce",),
    "tree_efficiency": ("all_reduce",),
    "multicast_efficiency": ("all_reduce",),
    "all_to_all_efficiency": ("alltoall",),
    "peer_s": ("alltoall",),
    "send_efficiency": (SEND,),
}
"""Which collectives can decide a number; without any of them it is not fitted."""
_START = LinkLevel(**{"bytes_per_s": 1.0, **{name: prior.value for name, prior in _CPU.items()}})


@dataclass(frozen=True)
class LevelFit:
    """One level of the network, and the rows that it was fitted on.

    Attributes
    ----------
    level
        Its numbers.
    rows
        Collectives whose outermost level it is; None where there are none.
    fit
        The numbers that were fitted, and the errors of the rows; likewise.
    """

    level: LinkLevel
    rows: Rows | None = None
    fit: RowsFit | None = None

    @property
    def collectives(self) -> list[str]:
        """What was measured across it."""
        return [] if self.rows is None else [str(name) for name in np.unique(self.rows.collective)]

    def of(self, collective: str) -> RowsFit:
        """Return the fit with the errors of one collective."""
        assert self.fit is not None
        assert self.rows is not None
        return self.fit.where(self.rows.collective == collective)


def collective_rows(rows: Sequence[CollectiveRow], domain: int) -> Rows | None:
    """Return measured collectives as a fit takes them, None if there are none.

    Parameters
    ----------
    rows
        Measured; those without a size or a time, or that say so in their notes, are left out.
    domain
        Accelerators that the innermost level joins.
    """
    usable = [row for row in rows if not why_not_usable(row)]
    return Rows.of(_record(row, domain) for row in usable) if usable else None


def why_not_usable(row: CollectiveRow) -> str:
    """Return why a fit leaves out a measured collective, empty if it does not."""
    reasons = {
        f"status {row.status}": row.status not in ("", OK),
        f"{row.collective or 'collective'}: not known": row.collective not in BUS_FACTOR and row.collective != SEND,
        "no time": max(row.latency_us or 0, row.busbw_gb_per_s or 0) <= 0,
        "no size_bytes, n_gpus or n_nodes": min(row.size_bytes or 0, row.n_gpus or 0, row.n_nodes or 0) <= 0,
        "one rank": row.n_gpus == 1,
        "excluded by its notes": any(note in row.notes for note in EXCLUDED_NOTES),
    }
    return next((reason for reason, applies in reasons.items() if applies), "")


def crosses_nodes(row: CollectiveRow, domain: int) -> bool:
    """Return whether a usable collective goes beyond the innermost level, which joins ``domain`` accelerators."""
    return _inside(row, domain) < (row.n_gpus or 0)


def _inside(row: CollectiveRow, domain: int) -> float:
    return 1.0 if row.n_gpus == row.n_nodes else float(min(row.n_gpus or 0, domain))


def _record(row: CollectiveRow, domain: int) -> tuple[str, str, str, tuple[float, float], float, float]:
    ranks, size, inside = float(row.n_gpus or 0), float(row.size_bytes or 0), _inside(row, domain)
    is_ring = row.collective == "all_reduce" and any(note in row.notes for note in RING_NOTES)
    bus_bytes_per_s = (row.busbw_gb_per_s or 0) * 1e9
    time_s = row.time_s or time_s_of_bus_bandwidth(row.collective, ranks, size, bus_bytes_per_s)
    return row.source_id, row.gpu, RING_ONLY if is_ring else row.collective, (inside, ranks / inside), size, time_s


def domain_of(rows: Sequence[CollectiveRow], node_ranks: Sequence[int], known: int | None) -> int:
    """Return how many accelerators the innermost level joins: those of a rack, or of the nodes that were measured.

    Parameters
    ----------
    rows, node_ranks
        Measured collectives; accelerators in a node as training rows have them.
    known
        Of the catalog, where it has the machine.
    """
    counts = [*(row.gpus_per_node for row in rows if row.gpus_per_node), *node_ranks]
    if known and (known > LARGEST_NODE or not counts):
        return known
    return max([1, *counts])


def largest_bytes_per_s(rows: Rows, position: int) -> float | None:
    """Return the largest bus bandwidth of one accelerator across a level; None without rows. [B/s]"""
    mine = at_level(rows, position)
    if not len(mine):
        return None
    ranks = mine.sizes.prod(axis=1)
    passes = np.array([BUS_FACTOR.get(str(name), 2 if name == RING_ONLY else 1) for name in mine.collective])
    share = np.where(mine.collective == SEND, 1.0, passes * (ranks - 1) / ranks)
    inside = mine.sizes[:, 0] if position else np.ones(len(mine))
    return float((share * mine.message_bytes / mine.time_s / inside).max())


def at_level(rows: Rows, position: int) -> Rows:
    """Return the rows whose outermost level is this one: inside the first, or beyond it."""
    beyond = rows.sizes[:, 1] > 1
    return rows.where(beyond if position else ~beyond)


def fit_levels(
    rows: Rows | None, levels: Sequence[LinkLevel], before: Sequence[LinkLevel] | None, holdout: Holdout
) -> list[LevelFit]:
    """Fit each level in turn, from the innermost, on the rows that cross none further out.

    Parameters
    ----------
    rows
        Measured collectives.
    levels
        Where the search starts: bandwidths that were measured or are a datasheet's.
    before
        The catalog's levels, where it has the machine: for their priors and errors.
    holdout
        How errors on rows held out are found, by collective, group and size.
    """
    found: list[LevelFit] = []
    for position in range(len(levels)):
        mine = at_level(rows, position) if rows is not None and position < 2 else None
        inner = [each.level for each in found]
        found.append(_level(mine if mine is not None and len(mine) else None, inner, levels[position], before, holdout))
    return found


def _level(
    rows: Rows | None, inner: Sequence[LinkLevel], start: LinkLevel, before: Sequence[LinkLevel] | None, out: Holdout
) -> LevelFit:
    if rows is None:
        return LevelFit(start)
    priors = _priors(rows, start, is_known=before is not None)

    def made(values: Mapping[str, float]) -> list[LinkLevel]:
        return [*inner, replace(start, **dict(values))]

    sizes = map(tuple, rows.sizes.tolist())
    points = list(zip(rows.collective.tolist(), sizes, rows.message_bytes.tolist(), strict=True))
    known = predicted_s(rows, before[: len(inner) + 1]) if before else None
    fit = fit_rows(priors, lambda values: predicted_s(rows, made(values)), rows.time_s, points, out, known)
    return LevelFit(made(fit.numbers.values)[-1], rows, fit)


def _priors(rows: Rows, start: LinkLevel, *, is_known: bool) -> dict[str, Prior]:
    """Return the numbers that the rows can decide, about the catalog's where it has them."""
    usual, measured = _GPU if is_known else _CPU, {str(name) for name in np.unique(rows.collective)}
    priors = {name: prior for name, prior in usual.items() if measured & set(_DECIDING[name])}
    if not start.multicast_efficiency:
        priors.pop("multicast_efficiency", None)
    elif is_known:
        priors.pop("tree_efficiency", None)
    if not is_known:
        return priors
    known = {name: getattr(start, name) for name in priors}
    return {name: prior.around(known[name]) if known[name] > 0 else prior for name, prior in priors.items()}


def usual_level(bytes_per_s: float) -> LinkLevel:
    """Return a level of which only the bandwidth is known, where the fit of a processor's network starts. [B/s]"""
    return replace(_START, bytes_per_s=bytes_per_s)


def level_values(level: LinkLevel) -> dict[str, float]:
    """Return a level's numbers as a catalog file has them: without its bandwidth, and what is not limited."""
    values = {field.name: getattr(level, field.name) for field in fields(level) if field.name != "bytes_per_s"}
    return {name: float(f"{value:.5g}") for name, value in values.items() if np.isfinite(value)}
