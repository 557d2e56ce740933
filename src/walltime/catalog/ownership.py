"""``ownership.toml``: what accelerators cost to buy, and what is paid for them while they are owned."""

import functools
import statistics

from walltime.catalog.calibrations import kin_of
from walltime.catalog.loader import convert, data_root, read_toml
from walltime.catalog.schema import Number, OwnershipRecord, PurchaseRecord


@functools.cache
def ownership_record() -> OwnershipRecord:
    """Return every purchase price, and what else ownership costs."""
    path = data_root() / "ownership.toml"
    return convert(read_toml(path), OwnershipRecord, path)


def purchases(accelerator_id: str) -> list[PurchaseRecord]:
    """Return what was asked for an accelerator, the oldest price first; none if none is known."""
    kin = kin_of(accelerator_id)
    found = [one for one in ownership_record().purchase if one.accelerator == kin]
    return sorted(found, key=lambda one: one.date)


def server_price_usd_per_gpu(accelerator_id: str) -> Number | None:
    """Return the median price of an accelerator with its share of a server, between the lowest and the highest. [USD]

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
    Prices of different years stand side by side, in dollars of their day. Where only the accelerator has a price, a
    server is taken to cost as many times more as others did.

    Examples
    --------
    >>> price = server_price_usd_per_gpu("h100-sxm")
    >>> price.low, price.value, price.high
    (31904.63, 37915.25, 46875.0)
    """
    bought = purchases(accelerator_id)
    if not bought:
        return None
    prices = [_with_server(one) for one in bought]
    years = sorted({str(one.date.year) for one in bought})
    return Number(
        value=statistics.median(price for _, price, _ in prices),
        kind="derived",
        note=f"median of {len(prices)} prices, {' to '.join(dict.fromkeys((years[0], years[-1])))}",
        low=min(low for low, _, _ in prices),
        high=max(high for _, _, high in prices),
    )


def _with_server(bought: PurchaseRecord) -> tuple[float, float, float]:
    """Return the low, the middle and the high price of an accelerator with its share of a server. [USD]"""
    prices = ends(bought.usd_per_gpu)
    if bought.with_server:
        return prices
    low, middle, high = (price * factor for price, factor in zip(prices, ends(_factor()), strict=True))
    return low, middle, high


def _factor() -> Number:
    return ownership_record().server_per_accelerator


def ends(number: Number) -> tuple[float, float, float]:
    """Return a number between its low and its high, which are the number itself where none is given."""
    value = float(number.value)
    return value if number.low is None else number.low, value, value if number.high is None else number.high
