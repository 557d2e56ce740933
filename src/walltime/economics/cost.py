"""STUB until the cost helper's module lands: same names, same meaning."""

from dataclasses import dataclass

import numpy as np

from walltime.arrays import Floats, Numeric
from walltime.hardware import Cluster


@dataclass(frozen=True)
class Ownership:
    """What owning one accelerator costs, its share of server, network and building included."""

    capital_usd: float
    years: float
    hosting_usd_per_kw_month: float
    electricity_usd_per_kwh: float

    def usd_per_gpu_hour(self, facility_w: Numeric) -> Floats:
        """Return what an hour in use costs. [$/h]"""
        return np.asarray(
            self.capital_usd / self.years / 8766 + np.asarray(facility_w) / 1e3 * self.electricity_usd_per_kwh
        )


def ownership(cluster: Cluster) -> Ownership | None:
    """Return what owning an accelerator of a cluster costs; None if no price is known."""
    return Ownership(35000.0, 4.0, 150.0, 0.08) if "h100" in cluster.id else None
