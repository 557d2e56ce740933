"""A catalog record as a TOML file, the way its author would lay it out: numbers on a line of their own."""

import datetime
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def record_toml(record: msgspec.Struct) -> str:
    """Return a record as TOML: a table of plain values is one line, what is empty or not known is left out.

    Examples
    --------
    >>> class Level(msgspec.Struct):
    ...     name: str
    ...     values: dict[str, float]
    >>> class Record(msgspec.Struct):
    ...     id: str
    ...     level: list[Level]
    ...     note: str = ""
    >>> print(record_toml(Record("a", [Level("b", {"x": 1e-6})])), end="")
    id = "a"
    <BLANKLINE>
    [[level]]
    name = "b"
    values = { x = 1e-06 }
    """
    raw = msgspec.to_builtins(record, builtin_types=(datetime.date, datetime.datetime))
    return "\n".join(_table(without_empty(raw), "")).strip() + "\n"


def without_empty(value: Any) -> Any:
    """Return a value without what is empty or not known, which TOML has no word for."""
    if isinstance(value, Mapping):
        kept = {str(key): without_empty(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item is not None and item not in ("", [], {})}
    if isinstance(value, list | tuple):
        return [without_empty(item) for item in value if item is not None]
    return value


def _table(content: Mapping[str, Any], path: str) -> Iterator[str]:
    """Yield the lines of a table: its own values first, since what follows a header belongs to that."""
    tables = {key: value for key, value in content.items() if _is_table(value) or _is_tables(value)}
    for key, value in content.items():
        if key not in tables:
            yield f"{_key(key)} = {_value(value)}"
    for key, value in tables.items():
        name = f"{path}.{_key(key)}" if path else _key(key)
        for each in value if _is_tables(value) else [value]:
            lines = list(_table(each, name))
            if _is_tables(value):
                yield from ("", f"[[{name}]]")
            elif lines and not lines[0].startswith("[") and lines[0]:
                yield from ("", f"[{name}]")
            yield from lines


def _is_table(value: Any) -> bool:
    """Whether a value needs a header: a table that holds more than plain values."""
    return isinstance(value, Mapping) and not all(_is_plain(item) for item in value.values())


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _is_plain(value: Any) -> bool:
    return not isinstance(value, Mapping) and not (
        isinstance(value, list) and any(isinstance(item, Mapping) for item in value)
    )


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _text(key)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, int | datetime.date):
        return str(value)
    return _text(str(value))


def _float(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    return repr(value)


def _text(text: str) -> str:
    """Return a basic string; JSON's escapes are among TOML's, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
