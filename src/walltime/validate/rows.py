"""Reading files of reference values, so strictly that a wrong file is never half understood."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from walltime.problems import BadInput
from walltime.units import shortened

_LARGEST = 1e60
T = TypeVar("T")
Row = tuple[int, dict[Any, Any]]
"""A line number and what stands there."""
PRINTED = ("as printed",)
"""Key under which a row of a CSV file keeps its cells as text; no JSON key is like it."""


def read_rows(path: Path, fields: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> list[Row]:
    """Read a file of one JSON object a line, or a CSV file with a header, and check its fields.

    Parameters
    ----------
    path
        ``.csv`` is read as CSV, anything else as JSON lines.
    fields
        Required fields and their types.
    optional
        Fields that a CSV file may have, and their types; further ones are ignored.

    Raises
    ------
    BadInput
        No file, no rows, a line that cannot be parsed, a field that is missing or of another type; with the line.
    """
    text = file_text(path)
    known = {**(optional or {}), **fields}
    rows = list(_csv_rows(path, text, known) if path.suffix == ".csv" else _json_rows(path, text))
    if not rows:
        raise BadInput(f"{path}: no rows.")
    for line, row in rows:
        check_fields(path, line, row, fields)
    return rows


def file_text(path: Path) -> str:
    """Return a file's text, or say in one line why there is none."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise BadInput(f"cannot read {str(path)!r}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path}: not a UTF-8 text file.") from None


def _json_rows(path: Path, text: str) -> Iterator[Row]:
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{path}:{line}: not a JSON object: {error}.") from None
        if not isinstance(row, dict):
            raise BadInput(f"{path}:{line}: a {type(row).__name__}, not a JSON object.")
        yield line, row


def _csv_rows(path: Path, text: str, fields: Mapping[str, Any]) -> Iterator[Row]:
    lines = csv_lines(path, text)
    _, header = next(lines, (0, []))
    for line, cells in lines:
        if len(cells) != len(header):
            raise BadInput(f"{path}:{line}: {len(cells)} cells; the header has {len(header)} columns.")
        row = dict(zip(header, cells, strict=True))
        parsed: dict[Any, Any] = {**row, PRINTED: row}
        for name in fields.keys() & row.keys():
            try:
                number = float(row[name])
            except ValueError:
                raise BadInput(f"{path}:{line}: {name}={shortened(row[name])} is not a number.") from None
            parsed[name] = int(number) if fields[name] is int and number.is_integer() else number
        yield line, parsed


def csv_lines(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not blank with the line on which it begins: a quoted cell may go over several."""
    reader = csv.reader(io.StringIO(text), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise BadInput(f"{path}:{line}: not a row of CSV: {error}.") from None
        if cells:
            yield line, cells


def check_fields(path: Path, line: int, row: dict[Any, Any], fields: Mapping[str, Any]) -> None:
    """Refuse a row that lacks one of these fields, or has it with another type or out of bounds."""
    for name, kind in fields.items():
        if name not in row:
            present = ", ".join(key for key in row if isinstance(key, str)) or "none"
            raise BadInput(f"{path}:{line}: no field {name!r}. Fields there: {present}.")
        value = row[name]
        kinds = kind if isinstance(kind, tuple) else (kind,)
        whole_as_float = float in kinds and isinstance(value, int)
        if (isinstance(value, bool) and bool not in kinds) or not (isinstance(value, kinds) or whole_as_float):
            wanted = " or ".join(k.__name__ for k in kinds)
            raise BadInput(f"{path}:{line}: {name}={shortened(value)} is not of type {wanted}.")
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        place = f"{path}:{line}: {name}={shortened(value)}"
        if not 0 <= value < math.inf:
            raise BadInput(f"{place} must be finite and not negative.")
        if value > _LARGEST:
            raise BadInput(f"{place} must be at most {_LARGEST:g}.")


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
