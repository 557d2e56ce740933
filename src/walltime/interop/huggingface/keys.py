"""The keys of a config.json: each read by its type, refused by its name, and remembered as used."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from walltime.problems import BadInput, unknown
from walltime.units import LARGEST_SIZE, shortened, whole

Json = Mapping[str, Any]


class Keys:
    """What a config.json says, and what is taken where it says nothing.

    Parameters
    ----------
    content
        The file, or the part of it that describes the text model.
    defaults
        Values of keys that may be left out.
    where
        What a message calls the file.
    within
        The part's name in the file, with a dot behind it; empty for the whole file.
    """

    def __init__(self, content: Json, defaults: Json, where: str, within: str = "") -> None:
        self.content = content
        self.defaults = defaults
        self.where = where
        self.within = within
        self.used: dict[str, Any] = {}
        self.assumed: dict[str, Any] = {}
        self.notes: list[str] = []

    def size(self, *names: str) -> int:
        """Return a whole number of at least 1, which must be given or have a default."""
        name, value = self._value(names)
        return self._whole(name, value)

    def size_or_none(self, *names: str) -> int | None:
        """Return a whole number of at least 1, None where the file has null or nothing and there is no default."""
        name, value = self._value(names, None)
        return None if value is None else self._whole(name, value)

    def count(self, *names: str) -> int:
        """Return a whole number of at least 0; null, and no value at all, is 0."""
        name, value = self._value(names, None)
        return 0 if value is None or (value == 0 and type(value) is int) else self._whole(name, value)

    def yes_no(self, *names: str) -> bool:
        """Return true or false; null, and no value at all, is false."""
        name, value = self._value(names, None)
        if value is not None and not isinstance(value, bool):
            raise self.refusal(name, value, "must be true or false.")
        return bool(value)

    def choice(self, name: str, valid: Sequence[str]) -> str:
        """Return one of some texts; the first where there is none."""
        name, value = self._value((name,), valid[0])
        if value not in valid:
            raise BadInput(f"{self.where}: {unknown(self.within + name, value, valid)}")
        return str(value)

    def texts(self, name: str, length: int) -> list[str] | None:
        """Return a list of a text a layer, None where there is none."""
        _, value = self._value((name,), None)
        if value is None:
            return None
        if not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
            raise self.refusal(name, value, "must be a list of texts.")
        if len(value) != length:
            raise self.refusal(name, value, f"has {len(value)} entries for {length} layers.")
        return value

    def layers(self, name: str, num_layers: int) -> set[int] | None:
        """Return the numbers of layers that a list names, None where there is no list."""
        _, value = self._value((name,), None)
        if value is None:
            return None
        valid = isinstance(value, list) and all(type(item) is int and 0 <= item < num_layers for item in value)
        if not valid:
            raise self.refusal(name, value, f"must be a list of layers from 0 to {num_layers - 1}.")
        return set(value)

    def part(self, name: str) -> "Keys":
        """Return the keys of a table inside the file, an empty one where there is none; its defaults have dots."""
        _, value = self._value((name,), {})
        if not isinstance(value, dict | None):
            raise self.refusal(name, value, "must be a table.")
        start = f"{name}."
        inner = {key.removeprefix(start): of for key, of in self.defaults.items() if key.startswith(start)}
        return Keys(value or {}, inner, self.where, self.within + start)

    def must_be(self, name: str, valid: bool, why: str) -> None:
        """Refuse a switch that is not where the models that can be described have it."""
        value = self.yes_no(name)
        if value is not valid:
            raise self.refusal(name, value, f"is not supported: {why}. Valid: {str(valid).lower()}.")

    def refusal(self, name: str, value: object, why: str) -> BadInput:
        """Return bad input that names file, key and value."""
        shown = {True: "true", False: "false"}[value] if isinstance(value, bool) else shortened(value)
        default = " (the default)" if name in self.assumed else ""
        return BadInput(f"{self.where}: {self.within}{name}={shown}{default} {why}")

    def rest(self, ignored: Collection[str]) -> dict[str, Any]:
        """Return what was not read, is not in a list, and says something: not null, false or empty."""
        return {
            key: value
            for key, value in self.content.items()
            if not (key in self.used or key in ignored or key.startswith("_") or value in (None, False, [], {}, ""))
        }

    def _value(self, names: Sequence[str], *fallback: Any) -> tuple[str, Any]:
        """Return the name that is in the file and its value, else the default of one of the names."""
        given = [name for name in names if name in self.content]
        self.used |= {name: self.content[name] for name in given}
        if given:
            first = given[0]
            for other in given[1:]:
                if self.content[other] != self.content[first]:
                    raise self.refusal(
                        other, self.content[other], f"contradicts {first}={shortened(self.content[first])}."
                    )
            return first, self.content[first]
        for name in names:
            if name in self.defaults:
                self.assumed[name] = self.defaults[name]
                return name, self.defaults[name]
        if not fallback:
            others = f" (or {', '.join(names[1:])})" if names[1:] else ""
            raise BadInput(f"{self.where}: the key {self.within}{names[0]}{others} is missing.")
        return names[0], fallback[0]

    def _whole(self, name: str, value: object) -> int:
        try:
            return whole(value, name, LARGEST_SIZE)
        except BadInput as problem:
            raise BadInput(f"{self.where}: {self.within}{problem}") from None
