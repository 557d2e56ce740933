"""``power.toml``: what accelerators, nodes, networks and buildings draw, each number beside its provenance."""

import functools
from typing import NamedTuple

from walltime.catalog.loader import DATASHEET, convert, data_root, parameter_set, read_toml
from walltime.catalog.schema import AcceleratorRecord, NodeRecord, Number, PowerRecord


class Draws(NamedTuple):
    """What an accelerator draws by what it does, as shares of its board power limit."""

    idle: Number
    compute: Number
    memory_bound: Number
    communication: Number


@functools.cache
def power_record() -> PowerRecord:
    """Return everything that is known of power."""
    path = data_root() / "power.toml"
    return convert(read_toml(path), PowerRecord, path)


def draws(accelerator_id: str) -> Draws:
    """Return the draws of an accelerator of the catalog: its own where they are known, else those of the default."""
    record = power_record()
    own = record.accelerator.get(accelerator_id, record.default)
    return Draws(*(getattr(own, f"{name}_share") or getattr(record.default, f"{name}_share") for name in Draws._fields))


def board_limit_w(accelerator_id: str) -> float | None:
    """Return the power limit of an accelerator, None if nobody says it. [W]"""
    record = parameter_set(DATASHEET).find(AcceleratorRecord, accelerator_id)
    if record is None or record.power_w is None or accelerator_id in power_record().limit_not_known:
        return None
    return float(record.power_w.value)


def node_of(accelerator_id: str) -> NodeRecord | None:
    """Return the node that an accelerator usually sits in; None where nobody says what that draws."""
    return next((node for node in power_record().node.values() if accelerator_id in node.accelerators), None)
