"""Memory-bound kernels of one machine: how much memory they move in a second, and how long one takes to start."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from walltime.arrays import Floats, Mask
from walltime.calibrate.machine.numbers import Prior, share
from walltime.calibrate.machine.quality import Holdout, RowsFit, fit_rows

GPU_PRIORS = {"memory_efficiency": share(0.82, 0.6, 0.95), "start_s": Prior(4e-6, 1e-6, 1.6e-5)}
CPU_PRIORS = {"memory_efficiency": share(0.8, 0.3, 0.98), "start_s": Prior(5e-6, 3e-7, 1e-4)}
LEAST_BYTES_ON_CPU = 4 * 2**20
"""Smaller tensors stay in the caches that a core of today's processors has to itself (1 to 2 MiB)."""
CACHES_ON_GPU = 4
"""Tensors of so many times the shared cache are read from memory."""


@dataclass(frozen=True)
class MemoryRows:
    """Measured memory-bound kernels, one an element: what each is, the bytes that it must move [B], its time. [s]"""

    op: Floats
    num_bytes: Floats
    time_s: Floats

    def __len__(self) -> int:
        return len(self.time_s)

    def where(self, mask: Mask) -> "MemoryRows":
        """Return the rows of a mask."""
        return MemoryRows(self.op[mask], self.num_bytes[mask], self.time_s[mask])

    @property
    def bytes_per_s(self) -> Floats:
        """Rate of each row. [B/s]"""
        return np.asarray(self.num_bytes / self.time_s)


def fit_memory(
    rows: MemoryRows, bytes_per_s: float, before: float | None, holdout: Holdout, *, is_cpu: bool
) -> RowsFit:
    """Fit the share of a bandwidth that memory-bound kernels reach, and the time of an empty one.

    Parameters
    ----------
    rows
        Of tensors that no cache holds.
    bytes_per_s
        That the efficiency is a share of. [B/s]
    before
        The catalog's efficiency, where it has the accelerator.
    holdout
        How errors on rows held out are found, by kernel and size.
    is_cpu
        Whose priors.
    """
    priors = CPU_PRIORS if is_cpu else GPU_PRIORS

    def times_s(values: Mapping[str, float]) -> Floats:
        return np.asarray(rows.num_bytes / (values["memory_efficiency"] * bytes_per_s) + values["start_s"])

    points = list(zip(rows.op.tolist(), rows.num_bytes.tolist(), strict=True))
    known = times_s({"memory_efficiency": before, "start_s": priors["start_s"].value}) if before else None
    return fit_rows(priors, times_s, rows.time_s, points, holdout, known)
