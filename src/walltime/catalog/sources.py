"""The bibliography of ``data/sources.bib``."""

import re

import msgspec

from walltime.catalog.calibrations import CalibrationRecord, calibrations
from walltime.catalog.loader import data_root


class Source(msgspec.Struct, frozen=True):
    """One entry, its braces and escapes removed."""

    key: str
    author: str
    title: str
    year: str
    url: str
    note: str

    def __str__(self) -> str:
        return " ".join(f"{self.author} ({self.year}). {self.title}. {self.url}".split())


_FIELDS = ("author", "title", "year", "url", "note")


def sources() -> dict[str, Source]:
    """Return every source by its key: the bibliography, and each calibration under its id."""
    return _bibliography() | {own.id: _of_calibration(own) for own in calibrations()}


def _of_calibration(own: CalibrationRecord) -> Source:
    title = f"measured by walltime {own.origin.walltime} on {own.origin.date}, calibration {own.id}"
    return Source(own.id, "walltime measure", title, str(own.origin.date.year), "", f"version {own.version}")


def _bibliography() -> dict[str, Source]:
    text = (data_root() / "sources.bib").read_text(encoding="utf-8")
    found = {}
    for entry in re.split(r"\n(?=@)", "\n" + text):
        head = re.match(r"@\w+\{([^,\s]+),", entry)
        if head:
            found[head[1]] = Source(head[1], *(_field(entry, name) for name in _FIELDS))
    return found


def _field(entry: str, name: str) -> str:
    match = re.search(rf"^\s*{name}\s*=\s*\{{(.*?)\}},?\s*$", entry, re.DOTALL | re.MULTILINE)
    if not match:
        return ""
    plain = re.sub(r'\\"\{?(\w)\}?', lambda m: _UMLAUTS.get(m[1], m[1]), match[1])
    return " ".join(re.sub(r"[{}]|\\(?=[_&%#])", "", plain).split())


_UMLAUTS = {"a": "ä", "o": "ö", "u": "ü", "A": "Ä", "O": "Ö", "U": "Ü"}
