"""Fits of network levels (:mod:`walltime.physics.links`) to measured collectives, with their errors.

The rows are those of nccl-tests and the like; SciPy (the extra ``[sci]``) does the fits and is imported when they run.
"""

import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from walltime.arrays import Floats, Mask, Numeric
from walltime.physics.links import (
    LinkLevel,
    all_gather_time_s,
    all_reduce_time_s,
    all_to_all_time_s,
    reduce_scatter_time_s,
    ring_path,
    send_time_s,
)
from walltime.problems import MissingExtra

RING_ONLY = "all_reduce_ring"
"""All-reduces whose library was told to use a ring."""
RING_NOTES = ("ALGO=Ring", "NVLS_ENABLE=0")
EXCLUDED_NOTES = ("exclude from calibration", "older software", "SHARP (NVLink/IB)", "NVLS off")
"""Fallback paths, superseded software, in-network reduction outside the model, a run that was aborted."""
BUS_FACTOR = {"all_reduce": 2, "all_gather": 1, "reduce_scatter": 1, "alltoall": 1}
"""Passes over the ring in the bus bandwidth of nccl-tests."""
SEND = "sendrecv"
"""Each rank sends to the next and receives from the one before; its bus bandwidth is what it sends in a second."""
H100_NODE = 8


@dataclass(frozen=True)
class Rows:
    """Measured collectives, one an element.

    Attributes
    ----------
    source, accelerator, collective : (rows,)
        Names.
    sizes : (rows, 2)
        Ranks inside a fast domain, and domains.
    message_bytes, time_s : (rows,)
        By the convention of nccl-tests. [B], [s]
    """

    source: Floats
    accelerator: Floats
    collective: Floats
    sizes: Floats
    message_bytes: Floats
    time_s: Floats

    def __len__(self) -> int:
        return len(self.time_s)

    def where(self, mask: Mask) -> "Rows":
        """Return the rows of a mask."""
        return Rows(*(getattr(self, name)[mask] for name in self.__dataclass_fields__))

    @classmethod
    def of(cls, records: Iterable[tuple[str, str, str, tuple[float, float], float, float]]) -> "Rows":
        """Return rows of (source, accelerator, collective, sizes, bytes, seconds)."""
        source, accelerator, collective, sizes, message_bytes, time_s = zip(*records, strict=True)
        columns = (source, accelerator, collective, sizes, message_bytes, time_s)
        return cls(*(np.asarray(column) for column in columns))

    def joined(self, other: "Rows") -> "Rows":
        """Return these rows and then others."""
        names = self.__dataclass_fields__
        return Rows(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in names))


def time_s_of_bus_bandwidth(collective: str, ranks: float, message_bytes: float, bus_bytes_per_s: float) -> float:
    """Time that a bus bandwidth of nccl-tests stands for [s]."""
    if collective == SEND:
        return message_bytes / bus_bytes_per_s
    return BUS_FACTOR[collective] * (ranks - 1) / ranks * message_bytes / bus_bytes_per_s


def measured_rows(path: Path, domain_ranks: Callable[[Mapping[str, str]], int]) -> Rows:
    """Read a file in the format of ``collectives.csv``; rows without a size or a known collective are left out.

    Parameters
    ----------
    path
        The file.
    domain_ranks
        Accelerators that the fast level of a row's machine joins.
    """
    with path.open(newline="", encoding="utf-8") as lines:
        found = [_record(row, domain_ranks(row)) for row in csv.DictReader(lines) if _usable(row)]
    return Rows.of(found)


def _usable(row: Mapping[str, str]) -> bool:
    """Whether a row has what a fit needs and was not taken out by its notes."""
    known = row["collective"] in BUS_FACTOR and row["gpu"] and row["size_bytes"]
    return bool(known) and not any(note in row["notes"] for note in EXCLUDED_NOTES)


def _record(row: Mapping[str, str], domain: int) -> tuple[str, str, str, tuple[float, float], float, float]:
    """Return a row as a record of :meth:`Rows.of`."""
    ranks, nodes, size = float(row["n_gpus"]), float(row["n_nodes"]), float(row["size_bytes"])
    inside = 1.0 if ranks == nodes else min(ranks, domain)
    name = RING_ONLY if any(note in row["notes"] for note in RING_NOTES) else row["collective"]
    bus = float(row["busbw_GBps"] or 0) * 1e9
    time_s = (
        float(row["latency_us"]) * 1e-6
        if row["latency_us"]
        else time_s_of_bus_bandwidth(row["collective"], ranks, size, bus)
    )
    return row["source_id"], row["gpu"], name, (inside, ranks / inside), size, time_s


def fernandez_rows(path: Path) -> Rows:
    """Read the all-reduce table of Fernandez et al. (2024), H100 nodes of 8."""
    with path.open(newline="", encoding="utf-8") as lines:
        table = [
            (float(r["nodes"]), float(r["size_bytes"]), float(r["busbw_bytes_per_s"])) for r in csv.DictReader(lines)
        ]
    return Rows.of(
        (
            "fernandez2024",
            "H100-SXM-80GB",
            "all_reduce",
            (H100_NODE, nodes),
            size,
            time_s_of_bus_bandwidth("all_reduce", H100_NODE * nodes, size, bus),
        )
        for nodes, size, bus in table
    )


def _ring_all_reduce_time_s(message_bytes: Floats, levels: Sequence[LinkLevel], sizes: tuple[Floats, ...]) -> Numeric:
    """Time of an all-reduce that may not use a tree [s]."""
    return ring_path(levels, sizes, 2).time_s(message_bytes)


def _neighbour_time_s(message_bytes: Floats, levels: Sequence[LinkLevel], sizes: tuple[Floats, ...]) -> Numeric:
    """Time of a send from each rank to the next: that over the outermost level that the group spans [s]."""
    time_s: Numeric = send_time_s(message_bytes, levels[0])
    for level, size in zip(levels[1:], sizes[1:], strict=True):
        time_s = np.where(size > 1, send_time_s(message_bytes, level), time_s)
    return time_s


def predicted_s(rows: Rows, levels: Sequence[LinkLevel]) -> Floats:
    """Time that the model gives to each row on a network of one or two levels [s]."""
    functions: dict[str, Callable[[Floats, Sequence[LinkLevel], tuple[Floats, ...]], Numeric]] = {
        "all_reduce": all_reduce_time_s,
        "all_gather": all_gather_time_s,
        "reduce_scatter": reduce_scatter_time_s,
        "alltoall": all_to_all_time_s,
        RING_ONLY: _ring_all_reduce_time_s,
        SEND: _neighbour_time_s,
    }
    times = np.empty(len(rows))
    for name in np.unique(rows.collective):
        mask = rows.collective == name
        sizes = tuple(rows.sizes[mask].T[: len(levels)])
        times[mask] = functions[str(name)](rows.message_bytes[mask], levels, sizes)
    return times


def fitted(
    rows: Rows, levels: Sequence[LinkLevel], position: int, free: Sequence[str], pull: float = 0.02, scale: float = 0.05
) -> tuple[LinkLevel, ...]:
    """Return the levels with some fields of one of them fitted to rows.

    Minimises a robust (soft L1) sum of squared logarithms of predicted over measured time, in which each source weighs
    the same however many rows it has; all numbers stay positive, and efficiencies at most 1.

    Parameters
    ----------
    rows
        What to fit to.
    levels
        The network; the fields of ``levels[position]`` are where the search starts.
    position
        The level that is fitted.
    free
        Its fields that are free.
    pull
        Weight of a pull towards the start, in residuals for each e-fold: it decides what the rows leave open.
    scale
        Relative error beyond which a row counts linearly.
    """
    try:
        from scipy.optimize import least_squares
    except ImportError:  # pragma: no cover
        raise MissingExtra("fits need SciPy: pip install 'walltime[sci]'") from None
    start = np.log([getattr(levels[position], name) for name in free])
    weights = _source_weights(rows.source)

    def with_values(logs: Floats) -> tuple[LinkLevel, ...]:
        values = dict(zip(free, np.exp(logs).tolist(), strict=True))
        level = replace(levels[position], **values)
        return (*levels[:position], level, *levels[position + 1 :])

    def residuals(logs: Floats) -> Floats:
        misses = np.log(predicted_s(rows, with_values(logs)) / rows.time_s)
        return np.concatenate([weights * misses, pull * (logs - start)])

    most = [0.0 if name.endswith("efficiency") else math.inf for name in free]
    within = np.minimum(start, np.subtract(most, pull))
    found = least_squares(residuals, within, loss="soft_l1", f_scale=scale, bounds=(-math.inf, most))
    return with_values(found.x)


def _source_weights(source: Floats) -> Floats:
    """Return weights of residuals whose squares add up to the same for each source, and to 1 a row on average."""
    names, positions, counts = np.unique(source, return_inverse=True, return_counts=True)
    weights: Floats = np.sqrt(len(source) / len(names) / counts[positions])
    return weights


def relative_errors(rows: Rows, levels: Sequence[LinkLevel]) -> Floats:
    """Predicted over measured time, less one."""
    return predicted_s(rows, levels) / rows.time_s - 1


@dataclass(frozen=True)
class Quality:
    """How well rows are met: their number, the median and 90th percentile of absolute error, and the median error."""

    rows: int
    median_abs_error: float
    p90_abs_error: float
    bias: float

    @classmethod
    def of(cls, errors: Floats) -> "Quality":
        """Return the quality of relative errors; ``nan`` where there are none."""
        if not len(errors):
            return cls(0, math.nan, math.nan, math.nan)
        size = np.abs(errors)
        return cls(len(errors), float(np.median(size)), float(np.quantile(size, 0.9)), float(np.median(errors)))


def held_out_errors(rows: Rows, groups: Floats, fit: Callable[[Rows], Sequence[LinkLevel]]) -> Floats:
    """Relative errors of rows whose group was left out of the fit, group by group.

    Parameters
    ----------
    rows
        All rows.
    groups : (rows,)
        For example their source, or their number of ranks.
    fit
        From rows to levels.
    """
    errors = np.full(len(rows), np.nan)
    names = np.unique(groups)
    if len(names) < 2:
        return errors
    for name in names:
        out = groups == name
        errors[out] = relative_errors(rows.where(out), fit(rows.where(~out)))
    return errors
