"""Files of measured rows: a CSV file that grows by a row at a time, and survives whatever happens in between."""

import csv
import dataclasses
import io
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from walltime.durable import append_bytes
from walltime.problems import BadInput
from walltime.units import shortened
from walltime.validate.rows import csv_lines, file_text

T = TypeVar("T")
_TRUE, _FALSE = "true", "false"


def columns(kind: type) -> tuple[str, ...]:
    """Return the columns of a kind of row, in the order of the file."""
    return tuple(_column(field) for field in dataclasses.fields(kind))


def _column(field: "dataclasses.Field[Any]") -> str:
    """Return what the file calls a field."""
    return str(field.metadata.get("column", field.name))


def read_rows(path: Path, kind: type[T], required: Sequence[str], what: str, time: str = "") -> list[T]:
    """Read rows; columns that are not there are empty, columns of no meaning here are left out.

    Parameters
    ----------
    path
        A CSV file.
    kind
        A frozen dataclass, each of whose fields is a column.
    required
        Columns without which the file is about something else.
    what
        The rows ("kernel rows"), for messages.
    time
        The column of times, which are of more than nothing or empty.

    Raises
    ------
    BadInput
        It is no such file, or a cell is not what its column holds; with the line.
    """
    lines = csv_lines(path, file_text(path))
    _, header = next(lines, (0, []))
    missing = [name for name in required if name not in header]
    if missing:
        raise BadInput(f"{path}: not a file of {what}: no column {missing[0]!r}. Valid: {', '.join(columns(kind))}.")
    found = []
    for line, cells in lines:
        row = _row(path, line, kind, header, cells)
        if time and (value := getattr(row, time)) is not None and value <= 0:
            valid = "Valid: more than 0, or empty where it was not measured"
            raise BadInput(f"{path}:{line}: {time}={value:g} is no time. {valid}.")
        found.append(row)
    return found


def _row(path: Path, line: int, kind: type[T], header: Sequence[str], cells: Sequence[str]) -> T:
    if len(cells) != len(header):
        raise BadInput(f"{path}:{line}: {len(cells)} cells; the header has {len(header)} columns.")
    texts = dict(zip(header, cells, strict=True))
    values = {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        name = _column(field)
        try:
            values[field.name] = _PARSERS[str(field.type)](texts.get(name, ""))
        except ValueError:
            wanted = str(field.type).partition(" |")[0]
            raise BadInput(f"{path}:{line}: {name}={shortened(texts[name])} is not a {_WORDS[wanted]}.") from None
    return kind(**values)


def _whole(text: str) -> int | None:
    number = _number(text)
    if number is not None and not number.is_integer():
        raise ValueError(text)
    return None if number is None else int(number)


def _number(text: str) -> float | None:
    if not text.strip():
        return None
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _truth(text: str) -> bool | None:
    known = {"": None, _TRUE: True, _FALSE: False}
    if text.strip().lower() not in known:
        raise ValueError(text)
    return known[text.strip().lower()]


_PARSERS: dict[str, Callable[[str], Any]] = {
    str(str): str,
    str(int | None): _whole,
    str(float | None): _number,
    str(bool | None): _truth,
}
_WORDS = {"int": "whole number", "float": "number", "bool": "'true' or 'false'", str(str): "text"}


def appended_to(path: Path, kind: type[T]) -> Callable[[Iterable[T]], None]:
    """Return a function that appends rows of a kind to a file, as `lines_appended_to`."""
    append_lines = lines_appended_to(path, columns(kind))
    return lambda rows: append_lines(_cells(row) for row in rows)


def lines_appended_to(path: Path, names: Sequence[str]) -> Callable[[Iterable[Sequence[str]]], None]:
    """Return a function that appends lines of cells to a file, each on the disk before the function returns.

    A file that is there must have these columns; a last line that a crash cut off is taken away.

    Raises
    ------
    BadInput
        The file has other columns, or cannot be written.
    """
    check_columns(path, names)
    if path.exists() and path.stat().st_size:
        _cut_torn_line(path, len(names))
    else:
        append_bytes(path, _lines([names]))
    return lambda lines: append_bytes(path, _lines(lines))


def check_columns(path: Path, names: Sequence[str]) -> None:
    """Refuse a file that rows of these columns cannot be appended to.

    Raises
    ------
    BadInput
        It is a folder or in none, or has other columns.
    """
    if path.is_dir():
        raise BadInput(f"{str(path)!r} is a folder. Valid: a file, for example {path / 'rows.csv'}.")
    if not path.absolute().parent.is_dir():
        raise BadInput(f"cannot write {str(path)!r}: there is no folder {str(path.parent)!r}.")
    if path.exists() and path.stat().st_size:
        _check_header(path, names)


def _check_header(path: Path, names: Sequence[str]) -> None:
    _, header = next(csv_lines(path, file_text(path)), (0, []))
    if tuple(header) != tuple(names):
        other = sorted(set(header) ^ set(names))
        differs = f"column {other[0]!r} is in one of them only" if other else "their order differs"
        raise BadInput(
            f"{path}: has other columns than the rows to append: {differs}. Valid: a new file, or one written by "
            f"this version of the same command."
        )


def _cut_torn_line(path: Path, num_cells: int) -> None:
    """Take away what follows the last line end, unless it is a whole row."""
    data = path.read_bytes()
    whole, _, rest = data.rpartition(b"\n")
    if not rest:
        return
    try:
        complete = [len(cells) for cells in csv.reader([rest.decode()], strict=True)] == [num_cells]
    except (csv.Error, UnicodeDecodeError):
        complete = False
    with path.open("r+b") as file:
        if complete:
            file.seek(0, os.SEEK_END)
            file.write(b"\n")
        else:
            file.truncate(len(whole) + 1)


def _lines(table: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    return text.getvalue().encode()


def _cells(row: Any) -> list[str]:
    return list(as_cells(row).values())


def as_cells(row: Any) -> dict[str, str]:
    """Return a row as text by column; what was not measured is empty."""
    return {_column(field): _cell(getattr(row, field.name)) for field in dataclasses.fields(row)}


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return _TRUE if value else _FALSE
    if isinstance(value, float):
        return repr(value)
    return " ".join(value.splitlines()) if isinstance(value, str) else str(value)  # a row is a line


def named(rows: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Return rows as dictionaries by column, for JSON."""
    return ({_column(field): getattr(row, field.name) for field in dataclasses.fields(row)} for row in rows)
