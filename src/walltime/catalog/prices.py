"""``prices.toml``: what an hour of a rented accelerator costs."""

import functools
import statistics

from walltime.catalog.calibrations import kin_of
from walltime.catalog.loader import convert, data_root, read_toml
from walltime.catalog.schema import Number, PriceRecord, PricesRecord


@functools.cache
def prices_record() -> PricesRecord:
    """Return every list price."""
    path = data_root() / "prices.toml"
    return convert(read_toml(path), PricesRecord, path)


def list_prices(accelerator_id: str) -> list[PriceRecord]:
    """Return the list prices of an accelerator, the lowest first; none if none is known."""
    kin = kin_of(accelerator_id)
    found = [price for price in prices_record().price if price.accelerator == kin]
    return sorted(found, key=lambda price: price.usd_per_gpu_hour.value)


def price_per_gpu_hour_usd(accelerator_id: str) -> Number | None:
    """Return the median list price of an accelerator, between the lowest and the highest. [USD/h]

    Parameters
    ----------
    accelerator_id
        Of the catalog, for example ``h100-sxm``, or of a calibration, whose prices are those that it is based on.

    Returns
    -------
    Number or None
        With ``low`` and ``high``; None where no price is known.

    Approximations
    --------------
    On-demand prices of single servers. Reserved clusters cost less; storage, traffic and tax come on top.

    Examples
    --------
    >>> price = price_per_gpu_hour_usd("h200")
    >>> price.low, price.value, price.high
    (3.99, 4.29, 6.305)
    """
    prices = list_prices(accelerator_id)
    if not prices:
        return None
    values = [float(price.usd_per_gpu_hour.value) for price in prices]
    sources = ", ".join(price.usd_per_gpu_hour.source for price in prices)
    return Number(
        value=statistics.median(values),
        kind="derived",
        note=f"median of {len(values)} list prices, on demand ({sources}), {_dates(prices)}",
        low=values[0],
        high=values[-1],
    )


def _dates(prices: list[PriceRecord]) -> str:
    """Return when prices were read: a day, or the first and the last."""
    days = sorted({price.date.isoformat() for price in prices})
    return " to ".join(dict.fromkeys((days[0], days[-1])))
