"""What an hour of an accelerator costs: rented at list price, or owned."""

import math
from dataclasses import dataclass, fields

import numpy as np

from walltime.arrays import Floats, Numeric
from walltime.catalog import Number
from walltime.catalog.ownership import ends, ownership_record, server_price_usd_per_gpu
from walltime.catalog.power import board_limit_w
from walltime.catalog.prices import price_per_gpu_hour_usd
from walltime.economics.power import most_host_w
from walltime.hardware import Cluster
from walltime.problems import BadInput
from walltime.units import YEAR_S

_HOUR_S = 3600
_HOURS_PER_YEAR = YEAR_S / _HOUR_S
_MONTHS_PER_YEAR = 12
_W_PER_KW = 1000


@dataclass(frozen=True)
class Ownership:
    """What owning one accelerator costs, with its share of server, network and building.

    Attributes
    ----------
    capital_usd
        Price of the accelerator, its share of the server and of the network. [$]
    years
        Over which the price is paid off. [years]
    residual_share
        What everything is still worth after that, as a share of the price.
    interest_per_year
        Cost of capital, as a share of what is not yet paid off. [1/year]
    maintenance_per_year
        Repairs, support and operation, as a share of the price. [1/year]
    hosting_usd_per_kw_month
        Rent of building, cooling and backup power, without electricity. [$/(kW month)]
    provisioned_w
        Power that is rented, whatever is drawn: the most that server and accelerator take, without cooling. [W]
    electricity_usd_per_kwh
        Price of electricity at the meter. [$/kWh]
    used_share
        Share of all hours in which the accelerator is used. All hours are paid, but electricity.
    """

    capital_usd: float
    years: float
    residual_share: float
    interest_per_year: float
    maintenance_per_year: float
    hosting_usd_per_kw_month: float
    provisioned_w: float
    electricity_usd_per_kwh: float
    used_share: float

    def __post_init__(self) -> None:
        """Refuse what no owner can have."""
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0):
                raise BadInput(f"{field.name}={value} is not possible. Valid: a number, 0 or more.")
        for name in ("years", "used_share"):
            if getattr(self, name) == 0:
                raise BadInput(f"{name}=0 is not possible. Valid: more than 0.")
        for name in ("residual_share", "used_share"):
            if getattr(self, name) > 1:
                raise BadInput(f"{name}={getattr(self, name)} is not possible. Valid: a share, at most 1.")

    def parts_usd_per_gpu_hour(self, facility_w: Numeric) -> dict[str, Floats]:
        """Return what an hour in use costs, in parts that add up to `usd_per_gpu_hour`. [$/h]

        Parameters
        ----------
        facility_w
            Mean power at the meter of one accelerator while in use, with its share of host, network and cooling
            (PUE included). [W]
        """
        drawn_w = np.asarray(facility_w, dtype=float)
        if not np.all((drawn_w >= 0) & np.isfinite(drawn_w)):
            raise BadInput(f"facility_w={facility_w} is not possible. Valid: watts, 0 or more.")
        per_year = {
            "capital": annuity_usd_per_year(
                self.capital_usd, self.capital_usd * self.residual_share, self.years, self.interest_per_year
            ),
            "maintenance": self.capital_usd * self.maintenance_per_year,
            "hosting": self.hosting_usd_per_kw_month * _MONTHS_PER_YEAR * self.provisioned_w / _W_PER_KW,
        }
        used_hours = _HOURS_PER_YEAR * self.used_share
        fixed = {name: np.full_like(drawn_w, usd / used_hours) for name, usd in per_year.items()}
        return fixed | {"power": self.electricity_usd_per_kwh * drawn_w / _W_PER_KW}

    def usd_per_gpu_hour(self, facility_w: Numeric) -> Floats:
        """Return what an hour in use costs: capital, maintenance, hosting and electricity. [$/h]

        Parameters
        ----------
        facility_w
            As in `parts_usd_per_gpu_hour`. [W]
        """
        return np.asarray(sum(self.parts_usd_per_gpu_hour(facility_w).values()))


def annuity_usd_per_year(capital_usd: float, residual_usd: float, years: float, interest_per_year: float) -> float:
    r"""Return the equal payment at the end of each year that pays a price and its interest. [$/year]

    .. math:: a = (C - R) \frac{i}{1 - (1 + i)^{-n}} + R i

    The price less the residual value is paid off in `n` years; on the residual value, which comes back at the end,
    only interest is paid.

    Parameters
    ----------
    capital_usd, residual_usd
        Price, and what it is worth after `years`. [$]
    years
        Of payment. [years]
    interest_per_year
        Cost of capital; 0 means straight-line depreciation. [1/year]

    References
    ----------
    The capital recovery factor of any textbook of engineering economics.

    Examples
    --------
    >>> round(annuity_usd_per_year(1000, 0, years=5, interest_per_year=0.1), 2)
    263.8
    >>> annuity_usd_per_year(1000, 200, years=4, interest_per_year=0)
    200.0
    """
    paid_off_usd = capital_usd - residual_usd
    if interest_per_year == 0:
        return paid_off_usd / years
    recovery = interest_per_year / -math.expm1(-years * math.log1p(interest_per_year))
    return paid_off_usd * recovery + residual_usd * interest_per_year


def ownership(
    cluster: Cluster, *, capital_usd: float | None = None, provisioned_w: float | None = None
) -> Ownership | None:
    """Return what owning an accelerator of a cluster costs; None if its price or the power of its node is not known.

    The numbers are those of ``ownership.toml``; change any of them with `dataclasses.replace`.

    Parameters
    ----------
    cluster
        Of which accelerators.
    capital_usd, provisioned_w
        Instead of what is known: price with server and network, and power that is rented. [$], [W]
    """
    return _ownership(cluster, 1, 1, capital_usd, provisioned_w)


def ownership_range(cluster: Cluster) -> tuple[Ownership, Ownership] | None:
    """Return the cheapest and the dearest ownership: every number at the end of its range that makes an hour so.

    All at once is unlikely; the two are bounds, not a confidence interval.
    """
    cheap, dear = _ownership(cluster, 0, 2), _ownership(cluster, 2, 0)
    return None if cheap is None or dear is None else (cheap, dear)


def _ownership(
    cluster: Cluster, costs: int, reliefs: int, capital_usd: float | None = None, provisioned_w: float | None = None
) -> Ownership | None:
    """Take one of low, middle and high of what makes an hour dearer (`costs`), and of what makes it cheaper."""
    record, chip = ownership_record(), cluster.accelerator.id

    def cost(number: Number) -> float:
        return ends(number)[costs]

    def relief(number: Number) -> float:
        return ends(number)[reliefs]

    server, limit_w = server_price_usd_per_gpu(chip), board_limit_w(chip)
    if capital_usd is None and server is not None:
        capital_usd = cost(server) / (1 - cost(record.network_share))
    if provisioned_w is None and limit_w is not None:
        provisioned_w = _node_w(chip) or limit_w * cost(record.provisioned_per_board_limit)
    if capital_usd is None or provisioned_w is None:
        return None
    return Ownership(
        capital_usd=capital_usd,
        years=relief(record.years),
        residual_share=relief(record.residual_share),
        interest_per_year=cost(record.interest_per_year),
        maintenance_per_year=cost(record.maintenance_per_year),
        hosting_usd_per_kw_month=cost(record.hosting_usd_per_kw_month),
        provisioned_w=provisioned_w,
        electricity_usd_per_kwh=cost(record.electricity_usd_per_kwh),
        used_share=relief(record.used_share),
    )


def _node_w(accelerator_id: str) -> float | None:
    """Return the most that an accelerator and its share of its node can draw, None if nobody says. [W]"""
    limit_w, host_w = board_limit_w(accelerator_id), most_host_w(accelerator_id)
    return None if limit_w is None or host_w is None else limit_w + host_w


def rental_usd_per_gpu_hour(accelerator_id: str) -> float | None:
    """Return the median list price of an accelerator, None if none is known. [$/h]

    `walltime.catalog.prices.price_per_gpu_hour_usd` has its range and where it is from.
    """
    number = price_per_gpu_hour_usd(accelerator_id)
    return None if number is None else float(number.value)
