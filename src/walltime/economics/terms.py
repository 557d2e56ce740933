"""On what terms accelerators are had: rented or owned, at what price, and what is known better than the catalog."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from walltime.catalog import DATASHEET, AcceleratorRecord, parameter_set
from walltime.economics.cost import Ownership
from walltime.economics.power import Power
from walltime.economics.reliability import Reliability
from walltime.problems import BadInput, unknown
from walltime.units import parse_quantity, positive

ROOMS: Mapping[str, Any] = {"power": Power, "cost": Ownership, "failures": Reliability}
"""Where a setting's path starts, and the record whose field it names."""
_LARGEST = 1e25
_COUNTS = ("gpus_per_node", "spare_nodes")
_MAY_BE_ZERO = (
    *("power.host_w", "power.network_w", "power.grid_kg_per_kwh"),
    *("cost.residual_share", "cost.interest_per_year", "cost.maintenance_per_year"),
    *("cost.hosting_usd_per_kw_month", "cost.electricity_usd_per_kwh"),
    *("failures.checkpoint_s", "failures.restart_s", "failures.write_s"),
    *("failures.slow_share", "failures.slow_by", "failures.spare_nodes"),
)
_NOT_SET = ("power.limit_w",)
"""A lower limit slows steps as well, by how much is not known."""


@dataclass(frozen=True)
class Terms:
    """What whoever pays knows.

    Attributes
    ----------
    owned
        Whether accelerators are owned; rented otherwise.
    price_usd_per_gpu_hour
        Prices by accelerator, instead of the catalog's and of what owning costs. [$/h]
    settings
        Numbers instead of the catalog's, by path: ``power.pue``, ``cost.years``, ``failures.restart_s``.
    """

    owned: bool = False
    price_usd_per_gpu_hour: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse prices and settings that cannot be, or that do not go together."""
        if not isinstance(self.owned, bool):
            raise BadInput(f"owned={self.owned!r} must be True or False.")
        for chip, usd in _numbers("price_usd_per_gpu_hour", self.price_usd_per_gpu_hour, "h100-sxm").items():
            known = parameter_set(DATASHEET).get(AcceleratorRecord, chip).id
            if known != chip:
                raise BadInput(f"price of {chip}: an alias. Valid: {known}.")
            positive(usd, f"price of {chip}")
        if self.owned and self.price_usd_per_gpu_hour:
            raise BadInput("owned and price both say what an hour costs. Valid: one of them.")
        for path, value in _numbers("settings", self.settings, "power.pue").items():
            _field(path)
            _check(path, value)
            if path.startswith("cost.") and not self.owned:
                raise BadInput(
                    f"{path}={value:g} is about owning, and rent has no such number. Valid: --owned, or owned=True."
                )

    def sets(self, room: str) -> bool:
        """Whether some number of a room is set."""
        return any(path.startswith(f"{room}.") for path in self.settings)

    def applied(self, room: str, record: Any) -> Any:
        """Return a record of a room with the numbers that are set there; None stays None."""
        prefix = f"{room}."
        given = {path.removeprefix(prefix): value for path, value in self.settings.items() if path.startswith(prefix)}
        whole = {name: int(value) for name, value in given.items() if name in _COUNTS}
        try:
            return replace(record, **given | whole) if record is not None and given else record
        except BadInput as problem:
            raise BadInput(f"{prefix}{problem}") from None


def is_setting(text: str) -> bool:
    """Whether ``FIELD=VALUE`` is about power, cost or failures, not about hardware."""
    return text.partition(".")[0].strip() in ROOMS


def settings(texts: Iterable[str]) -> dict[str, float]:
    """Read settings of the form ``power.pue=1.1`` or ``failures.restart_s=5min``.

    Values are in the unit that ends the field's name, or carry one of their own (``700W``, ``10min``).

    Raises
    ------
    BadInput
        An unknown field, no number, a wrong unit, or a value that cannot be.
    """
    found = {}
    for text in texts:
        path, separator, value = (part.strip() for part in text.partition("="))
        if not separator or not value:
            raise BadInput(f"--set {text!r} is not field=value. Valid: for example power.pue=1.1.")
        found[path] = _read(path, value)
    return found


def _read(path: str, text: str) -> float:
    name = _field(path)
    try:
        return _check(path, float(text))
    except ValueError:
        dimension = {"s": "seconds", "w": "W"}.get(name.rpartition("_")[2])
        if dimension is None:
            raise BadInput(f"{path}={text!r} is not a number.") from None
        return parse_quantity(text, dimension, path)


def _field(path: str) -> str:
    """Return the field that a path names."""
    room, _, name = path.partition(".")
    if room not in ROOMS or name not in _names(room):
        raise unknown("field in --set", path, [f"{room}.{name}" for room in ROOMS for name in _names(room)])
    return name


def _names(room: str) -> list[str]:
    return [one.name for one in fields(ROOMS[room]) if f"{room}.{one.name}" not in _NOT_SET]


def _numbers(field_name: str, given: object, example: str) -> Mapping[str, float]:
    """Return a mapping of names to numbers; refuse what is none."""
    if not isinstance(given, Mapping):
        raise BadInput(f"{field_name}={given!r} must map names to numbers. Valid: {{{example!r}: 1.1}}.")
    for name, value in given.items():
        if not isinstance(name, str) or isinstance(value, bool) or not isinstance(value, int | float):
            raise BadInput(f"{field_name}: {name!r} is {value!r}. Valid: a number.")
        if abs(value) > _LARGEST:
            raise BadInput(f"{field_name}: {name!r} is too large. Valid: a number of at most {_LARGEST:g}.")
    return given


def _check(path: str, value: float) -> float:
    """Refuse what is not finite or negative, and shares above one."""
    if path.endswith(_COUNTS) and value % 1 != 0:
        raise BadInput(f"{path}={value:g} must be a whole number.")
    if "share" in path and not 0 <= value <= 1:
        raise BadInput(f"{path}={value:g} must be between 0 and 1.")
    if path == "power.pue" and value < 1:
        raise BadInput(f"{path}={value:g} must be at least 1: all power over that of the machines.")
    if value == 0 and path in _MAY_BE_ZERO:
        return value
    return positive(value, path)


USUAL_TERMS = Terms()
"""Rented, at list prices, with the catalog's numbers."""
