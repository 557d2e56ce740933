"""STUB until the failures helper's module lands: same names, same meaning."""

from dataclasses import dataclass

import numpy as np

from walltime.arrays import Floats, Numeric
from walltime.engines.stack import Stack
from walltime.hardware import Cluster
from walltime.workload import Training


@dataclass(frozen=True)
class Reliability:
    """How often a training stops, and what that costs."""

    gpu_mtbf_s: float
    restart_s: float
    checkpoint_s: float

    def effective_share(self, num_gpus: Numeric) -> Floats:
        """Share of the ideal tokens that are trained on, (plans,)."""
        rate = np.asarray(num_gpus) / self.gpu_mtbf_s
        return 1 / (1 + rate * self.restart_s + np.sqrt(2 * self.checkpoint_s * rate))

    def interruptions_per_day(self, num_gpus: Numeric) -> Floats:
        """Return how often training stops, (plans,). [1/day]"""
        return 86400 * np.asarray(num_gpus) / self.gpu_mtbf_s


def reliability(cluster: Cluster, training: Training, stack: Stack) -> Reliability:  # noqa: ARG001
    """Return how reliable a cluster is for a training."""
    return Reliability(54 * 86400 * 16384 / 419, 600.0, 30.0)
