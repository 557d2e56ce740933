"""Reading files of reference values, so strictly that a wrong file is never half understood."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from walltime.problems import BadInput

T = TypeVar("T")
Row = tuple[int, dict[str, Any]]
"""A line number and what stands there."""


def read_rows(path: Path, fields: Mapping[str, type | tuple[type, ...]]) -> list[Row]:
    """Read a file of one JSON object a line, or a CSV file with a header, and check its fields.

    Parameters
    ----------
    path
        ``.csv`` is read as CSV, anything else as JSON lines.
    fields
        Required fields and their types; further ones are ignored.

    Raises
    ------
    BadInput
        No file, no rows, a line that cannot be parsed, a field that is missing or of another type; with the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise BadInput(f"cannot read {str(path)!r}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path}: not a UTF-8 text file.") from None
    rows = list(_csv_rows(path, text, fields) if path.suffix == ".csv" else _json_rows(path, text))
    if not rows:
        raise BadInput(f"{path}: no rows.")
    for line, row in rows:
        _check_fields(path, line, row, fields)
    return rows


def _json_rows(path: Path, text: str) -> Iterator[Row]:
    for line, content in enumerate(text.splitlines(), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except ValueError as error:
            raise BadInput(f"{path}:{line}: not a JSON object: {error}.") from None
        if not isinstance(row, dict):
            raise BadInput(f"{path}:{line}: a {type(row).__name__}, not a JSON object.")
        yield line, row


def _csv_rows(path: Path, text: str, fields: Mapping[str, Any]) -> Iterator[Row]:
    reader = csv.DictReader(io.StringIO(text))
    for row in reader:
        parsed: dict[str, Any] = {**row, "printed": dict(row)}
        if None in row or None in row.values():
            raise BadInput(f"{path}:{reader.line_num}: not as many cells as the header has columns.")
        for name in fields.keys() & row.keys():
            try:
                number = float(row[name])
            except ValueError:
                raise BadInput(f"{path}:{reader.line_num}: {name}={row[name]!r} is not a number.") from None
            parsed[name] = int(number) if number.is_integer() and fields[name] is int else number
        yield reader.line_num, parsed


def _check_fields(path: Path, line: int, row: dict[str, Any], fields: Mapping[str, Any]) -> None:
    for name, kind in fields.items():
        if name not in row:
            present = ", ".join(map(str, row)) or "none"
            raise BadInput(f"{path}:{line}: no field {name!r}. Fields there: {present}.")
        value = row[name]
        kinds = kind if isinstance(kind, tuple) else (kind,)
        whole_as_float = float in kinds and isinstance(value, int)
        if (isinstance(value, bool) and bool not in kinds) or not (isinstance(value, kinds) or whole_as_float):
            wanted = " or ".join(k.__name__ for k in kinds)
            raise BadInput(f"{path}:{line}: {name}={value!r} is not of type {wanted}.")
        if isinstance(value, int | float) and not isinstance(value, bool) and not (math.isfinite(value) and value >= 0):
            raise BadInput(f"{path}:{line}: {name}={value!r} must be finite and not negative.")


def must_be_positive(path: Path, line: int, row: Mapping[str, Any], names: Sequence[str]) -> None:
    """Refuse a row in which one of these counts is below 1."""
    for name in names:
        if row[name] < 1:
            raise BadInput(f"{path}:{line}: {name}={row[name]!r} must be at least 1.")


def located(path: Path, line: int, make: Callable[..., T], *args: Any, **options: Any) -> T:
    """Add the place in the file to whatever is wrong with a row."""
    try:
        return make(*args, **options)
    except BadInput as problem:
        raise BadInput(f"{path}:{line}: {problem}") from None
