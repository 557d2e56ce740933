"""``power.toml``: what accelerators, nodes, networks and buildings draw, each number beside its provenance."""

import functools
from typing import NamedTuple

from walltime.catalog.calibrations import calibration_record, kin_of
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
    """Return the draws of an accelerator: what a calibration measured, what is known of it, else those of the default.

    Parameters
    ----------
    accelerator_id
        Of the catalog or of a calibration.
    """
    record, own = power_record(), calibration_record(accelerator_id)
    known = record.accelerator.get(accelerator_id if own is None else own.based_on)
    said = [one for one in (None if own is None else own.draw, known, record.default) if one is not None]

    def share(name: str) -> Number:
        return next(number for one in said if (number := getattr(one, f"{name}_share")) is not None)

    return Draws(*map(share, Draws._fields))


def board_limit_w(accelerator_id: str) -> float | None:
    """Return the power limit of an accelerator, None if nobody says it. [W]"""
    record = parameter_set(DATASHEET).find(AcceleratorRecord, accelerator_id)
    if record is None or accelerator_id in power_record().limit_not_known:
        return None
    if record.power_w is None:
        kin = kin_of(accelerator_id)
        return board_limit_w(kin) if kin != accelerator_id else None
    return float(record.power_w.value)


def node_of(accelerator_id: str) -> NodeRecord | None:
    """Return the node that an accelerator usually sits in; None where nobody says what that draws."""
    kin = kin_of(accelerator_id)
    return next((node for node in power_record().node.values() if kin in node.accelerators), None)
