"""Flags that say on what terms accelerators are had: prices, owned or rented, power, failures."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click

from walltime import api
from walltime.cli.common import options, texts
from walltime.economics.terms import Terms, is_setting, settings
from walltime.hardware import Cluster
from walltime.problems import BadInput
from walltime.units import positive

terms_options = options(
    click.option(
        "--price", multiple=True, metavar="[CHIP=]USD", help="Dollars a GPU-hour. Default: list prices (repeat)."
    ),
    click.option(
        "--owned", is_flag=True, default=None, help="Accelerators are bought: capital, hosting and power, not rent."
    ),
)


def terms_of(values: Mapping[str, Any], clusters: Iterable[Cluster]) -> Terms:
    """Return the terms that flags describe.

    Raises
    ------
    BadInput
        A price of an accelerator that is in none of the clusters, or that is both owned and priced by the hour; a
        setting that is none.
    """
    chips = list(dict.fromkeys(cluster.accelerator.id for cluster in clusters))
    set_here = settings(text for text in texts(values, "set") if is_setting(text))
    return Terms(bool(values.get("owned")), dict(_prices(values, chips)), set_here)


def _prices(values: Mapping[str, Any], chips: list[str]) -> Iterator[tuple[str, float]]:
    """Yield prices: of an accelerator (``h100-sxm=2.5``), or of all (``2.5``)."""
    given = texts(values, "price")
    names = [text.rpartition("=")[0] for text in given]
    for text in given:
        name, separator, price = text.rpartition("=")
        if names.count(name) > 1 or (separator and not name):
            raise BadInput(f"price={text} is given twice, or for nothing. Valid: 2.50, or h100-sxm=2.50, once each.")
        try:
            usd = positive(float(price), "price", text)
        except ValueError:
            raise BadInput(f"price={text!r} is not dollars a GPU-hour. Valid: 2.50, or h100-sxm=2.50.") from None
        if separator and api.cluster(name).accelerator.id not in chips:
            raise BadInput(f"price={text}: {name} is not among the clusters. Valid: {', '.join(chips)}.")
        yield from ((chip, usd) for chip in ([api.cluster(name).accelerator.id] if separator else chips))
