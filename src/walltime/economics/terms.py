"""On what terms accelerators are had: rented or owned, at what price, and what is known better than the catalog."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Terms:
    """What whoever pays knows.

    Attributes
    ----------
    owned
        Whether accelerators are owned; rented otherwise.
    price_usd_per_gpu_hour
        Prices by accelerator, instead of the catalog's. [$/h]
    settings
        Numbers instead of the catalog's, by room and field: ``power.pue``, ``cost.years``, ``failures.restart_s``.
    """

    owned: bool = False
    price_usd_per_gpu_hour: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, float] = field(default_factory=dict)


USUAL_TERMS = Terms()
