"""What a person asks of a plan: degrees and choices that it may have, and memory that must stay free."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from walltime.arrays import Floats, Mask
from walltime.engines.capabilities import Capabilities
from walltime.plan import CONTEXT_ALGORITHMS, PIPELINE_SCHEDULES, PRECISIONS, RECOMPUTES, SHARDINGS, Plan
from walltime.problems import BadInput, unknown
from walltime.units import format_si, positive, whole

DEGREES = ("tp", "cp", "dp", "pp", "ep", "etp", "micro_batch")
"""Fields of a plan that a layout and its micro-batch decide."""
INNER_DEGREES = ("vpp", "shard", "recompute_layers")
"""Fields that are chosen inside a layout."""
ALL_RANKS = "all"
"""How ``shard=0`` is said: state is shared out over all data-parallel ranks."""
CHOICES = {
    "precision": "precisions",
    "schedule": "schedules",
    "sharding": "shardings",
    "reshard": "reshard",
    "recompute": "recomputes",
    "sequence_parallel": "sequence_parallel",
    "cp_algorithm": "cp_algorithms",
    "order": "orders",
}
"""Choices of a plan and what a software stack calls them all (`walltime.engines.capabilities.Capabilities`)."""
_VALID: Mapping[str, tuple[Any, ...]] = {
    "precision": PRECISIONS,
    "schedule": PIPELINE_SCHEDULES,
    "sharding": SHARDINGS,
    "reshard": (True, False),
    "recompute": RECOMPUTES,
    "sequence_parallel": (True, False),
    "cp_algorithm": CONTEXT_ALGORITHMS,
    "offload_optimizer": (True, False),
}
_ALSO = {
    "sharding": ("pipeline_sharding",),
    "sequence_parallel": ("moe_sequence_parallel",),
    "order": ("folded_orders",),
}
FIELDS = (*DEGREES, *INNER_DEGREES, *CHOICES, "offload_optimizer")
"""Fields of a plan that a constraint may name."""


@dataclass(frozen=True)
class Constraints:
    """Which plans of a space are allowed.

    Attributes
    ----------
    values
        Values that a field of a plan may have (`FIELDS`); fields without an entry are free.
    least, most
        Bounds of degrees (`DEGREES`, ``vpp`` and ``shard``).
    min_free_bytes
        Memory that must stay free on the fullest accelerator. [B]
    """

    values: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    least: Mapping[str, int] = field(default_factory=dict)
    most: Mapping[str, int] = field(default_factory=dict)
    min_free_bytes: float = 0.0

    def __post_init__(self) -> None:
        """Refuse fields that a plan does not have, and values that they cannot have."""
        for name, values in self.values.items():
            _check_values(name, values)
        for kind, bounds in (("min", self.least), ("max", self.most)):
            for name, bound in bounds.items():
                if name not in (*DEGREES, "vpp", "shard"):
                    raise unknown(f"degree in --{kind}", name, (*DEGREES, "vpp", "shard"))
                whole(bound, f"{kind}_{name}")
        if self.min_free_bytes:
            positive(self.min_free_bytes, "min_free_memory")

    def names(self) -> list[str]:
        """Return each constraint as it is said: ``tp``, ``max_pp``, ``sharding``."""
        bounds = [f"min_{name}" for name in self.least] + [f"max_{name}" for name in self.most]
        return [*self.values, *bounds, *(["min_free_memory"] if self.min_free_bytes else [])]

    def said(self, name: str) -> str:
        """Return one constraint with its value: ``tp=8``."""
        if name == "min_free_memory":
            return f"min_free_memory={format_si(self.min_free_bytes, 'B').replace(' ', '')}"
        if name not in self.values:
            return f"{name}={(self.least if name.startswith('min_') else self.most)[degree_of(name)]}"
        if name == "shard":
            return f"{name}={','.join(str(value or ALL_RANKS) for value in self.values[name])}"
        return f"{name}={','.join(_shown(value) for value in self.values[name])}"

    def only(self, name: str) -> "Constraints":
        """Return one constraint by itself."""
        degree = degree_of(name)
        if name == "min_free_memory":
            return Constraints(min_free_bytes=self.min_free_bytes)
        if name in self.values:
            return Constraints({name: self.values[name]})
        if name.startswith("min_"):
            return Constraints(least={degree: self.least[degree]})
        return Constraints(most={degree: self.most[degree]})

    def without(self, name: str) -> "Constraints":
        """Return the others."""
        joined = Constraints()
        for other in self.names():
            joined = joined.and_(self.only(other)) if other != name else joined
        return joined

    def and_(self, other: "Constraints") -> "Constraints":
        """Return both: values that both allow, the narrower bounds, the more memory.

        Raises
        ------
        BadInput
            No value of a field is left.
        """
        values = dict(self.values)
        for name, allowed in other.values.items():
            values[name] = tuple(value for value in values.get(name, allowed) if value in allowed)
            if not values[name]:
                raise BadInput(f"{other.said(name)} contradicts {self.said(name)}.")
        least = {**self.least, **{name: max(n, self.least.get(name, n)) for name, n in other.least.items()}}
        most = {**self.most, **{name: min(n, self.most.get(name, n)) for name, n in other.most.items()}}
        return Constraints(values, least, most, max(self.min_free_bytes, other.min_free_bytes))

    def checks(self, name: str, values: Floats) -> dict[str, Mask]:
        """Return what each constraint on a degree says of its values, by the constraint's name."""
        found: dict[str, Mask] = {}
        if name in self.values:
            found[name] = np.isin(values, np.array(self.values[name], dtype=np.float64))
        if name in self.least:
            found[f"min_{name}"] = values >= self.least[name]
        if name in self.most:
            found[f"max_{name}"] = values <= self.most[name]
        return found

    def allows(self, name: str, values: Floats) -> Mask:
        """Whether every constraint on a degree allows its values."""
        return np.logical_and.reduce([np.ones(len(values), dtype=bool), *self.checks(name, values).values()])

    def restricted(self, runs: Capabilities, name: str) -> Capabilities:
        """Return what a stack can run, with the choices of one constraint only."""
        if name not in CHOICES or name not in self.values:
            return runs
        choices = [CHOICES[name], *_ALSO.get(name, ())]
        allowed = {_compared(name, value) for value in self.values[name]}
        kept: dict[str, Any] = {
            choice: tuple(value for value in getattr(runs, choice) if _compared(name, value) in allowed)
            for choice in choices
        }
        return replace(runs, **kept)


def values_of(name: str, given: Any) -> tuple[Any, ...]:
    """Return the values that a person allows: one, or several in a tuple or a list; an order is one value."""
    one = not isinstance(given, tuple | list) or (name == "order" and all(isinstance(kind, str) for kind in given))
    if one:
        return (tuple(given) if isinstance(given, list) else given,)
    return tuple(given)


def degree_of(name: str) -> str:
    """Return the field of a plan that a constraint is about: ``pp`` of ``max_pp``."""
    return name[len("min_") :] if name.startswith(("min_", "max_")) else name


def _check_values(name: str, values: tuple[Any, ...]) -> None:
    if name not in FIELDS:
        raise unknown("field in a constraint", name, FIELDS)
    if name == "offload_optimizer" and len(values) > 1:
        raise BadInput("offload_optimizer: all plans have it or none does. Valid: true, or false.")
    if not values:
        raise BadInput(f"{name}= has no value.")
    for value in values:
        if name == "shard" and value == 0:
            continue
        if name in (*DEGREES, "vpp", "shard"):
            whole(value, name)
        elif name in _VALID and value not in _VALID[name]:
            raise unknown(name, value, map(_shown, _VALID[name]))
        elif name == "order":
            Plan(order=tuple(value))
        elif name == "recompute_layers" and not (isinstance(value, int | float) and 0 <= value <= 1):
            raise BadInput(f"recompute_layers={value} must be a number between 0 and 1.")


def _compared(name: str, value: Any) -> Any:
    """Return what two values are compared by: orders without ``ep``, which has no place of its own."""
    return tuple(kind for kind in value if kind != "ep") if name == "order" else value


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(value) if isinstance(value, tuple) else str(value)


UNCONSTRAINED = Constraints()
