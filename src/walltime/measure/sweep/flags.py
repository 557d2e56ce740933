"""What may be asked of the points of a sweep: the flags of ``walltime measure train``, and values turned into them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from walltime.problems import BadInput
from walltime.units import shortened

Kind = Literal["whole", "number", "text", "yes-no"]
_WORDS: dict[Kind, str] = {
    "whole": "a whole number",
    "number": "a number",
    "text": "text",
    "yes-no": "true or false",
}

MODEL = "model"
"""The one field that is an argument of the command, not a flag of it."""


@dataclass(frozen=True)
class Flag:
    """A flag of ``walltime measure train``.

    Attributes
    ----------
    name
        The field in a file: ``micro_batch``.
    kind
        Of its value.
    on, off
        As the command line has it; ``off`` is empty if only true can be said.
    is_list
        Whether it may be given several times.
    """

    name: str
    kind: Kind
    on: str
    off: str = ""
    is_list: bool = False

    def value(self, given: Any, place: str) -> Any:
        """Return a value of a file as the flag takes it, always of the same type.

        Raises
        ------
        BadInput
            It is of another kind; ``place`` says where it stands.
        """
        if self.is_list:
            items = given if isinstance(given, list) else [given]
            return [self._one(item, place) for item in items]
        return self._one(given, place)

    def _one(self, given: Any, place: str) -> Any:
        is_number = isinstance(given, int | float) and not isinstance(given, bool)
        if self.kind == "yes-no" and isinstance(given, bool):
            return given
        if self.kind == "whole" and is_number and isinstance(given, int):
            return given
        if self.kind == "number" and is_number:
            return float(given)
        if self.kind == "text" and (is_number or (isinstance(given, str) and given)):
            return str(given)
        raise BadInput(f"{place}{self.name}={shortened(given)} must be {_WORDS[self.kind]}.")

    def arguments(self, value: Any) -> list[str]:
        """Return the flag with a value, as a command line has it."""
        if self.kind == "yes-no":
            shown = self.on if value else self.off
            return [shown] if shown else []
        values = value if self.is_list else [value]
        return [f"{self.on}={_written(one)}" for one in values]


def _written(value: Any) -> str:
    return f"{value:.17g}" if isinstance(value, float) else str(value)


Flags = Mapping[str, Flag]
"""The flags by the name of their field, without the model."""


def train_arguments(flags: Flags, options: Mapping[str, Any]) -> list[str]:
    """Return the arguments of ``walltime`` that measure one point, but for where its result goes."""
    given = [argument for name in options if name != MODEL for argument in flags[name].arguments(options[name])]
    return ["measure", "train", str(options[MODEL]), *given]


def names(flags: Flags, more: Sequence[str] = ()) -> list[str]:
    """Return every field that a table of a sweep may have."""
    return [MODEL, *flags, *more]
