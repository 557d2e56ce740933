"""``power.toml``: what share of its power limit an accelerator draws, by what it does."""

import functools

from walltime.catalog.loader import convert, data_root, read_toml
from walltime.catalog.schema import PowerRecord


@functools.cache
def power_record() -> PowerRecord:
    """Return the shares of the board power limit when idle, computing, moving memory and communicating."""
    path = data_root() / "power.toml"
    return convert(read_toml(path), PowerRecord, path)
