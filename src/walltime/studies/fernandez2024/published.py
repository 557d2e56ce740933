"""What is known of the paper: its claims and settings, each with a tag that says how surely it is known."""

import csv
import functools
from dataclasses import dataclass
from typing import Literal

from walltime.catalog import data_root

Tag = Literal["QUOTED", "PLOT", "SECONDARY", "RECALLED", "DERIVED", "OTHER"]
TAGS: dict[str, str] = {
    "QUOTED": "the paper’s own words",
    "PLOT": "read off the paper’s own figure",
    "SECONDARY": "read in a third party’s summary",
    "DERIVED": "arithmetic on the above",
    "OTHER": "published by somebody else",
    "RECALLED": "unverified: shown, never judged",
}
Relation = Literal["holds", "number", "ratio", "at least", "at most", "above", "below", "none"]
RELATIONS: tuple[Relation, ...] = ("holds", "number", "ratio", "at least", "at most", "above", "below", "none")
"""How ours is held against the paper's: what is said holds; within a tolerance, in points or as a share; a bound of the
paper's; above or below a threshold of our own, where the paper has words only."""
Basis = Literal["predicted", "calibrated"]


@dataclass(frozen=True)
class Published:
    """A claim as it was published.

    Attributes
    ----------
    id, experiment
        Its name here, and the experiment that it is about.
    title
        In a few words.
    says
        In full; between quotation marks where they are the paper's own.
    tag
        See `TAGS`.
    relation, value, tolerance
        How ours is held against it (`RELATIONS`); None where there is no number.
    unit
        ``share`` is shown in percent.
    threshold
        Of our own, beyond which ours must lie for the paper's words to hold; None for other relations.
    basis
        Whether any of our numbers was fitted on it or on what it says.
    same_as
        Ids of the claims whose numbers it restates, so that it is not counted again; empty where it has its own.
    source, locator
        Key of the bibliography, and where in it.
    deviation
        Why ours is known to contradict it; empty where it is not.
    """

    id: str
    experiment: str
    title: str
    says: str
    tag: str
    relation: str
    value: float | None
    unit: str
    tolerance: float | None
    threshold: float | None
    basis: str
    same_as: str
    source: str
    locator: str
    deviation: str


@functools.cache
def published_claims() -> tuple[Published, ...]:
    """Return every claim, in the order of the page."""
    numbers = ("value", "tolerance", "threshold")
    return tuple(
        Published(**{key: (float(text) if text else None) if key in numbers else text for key, text in row.items()})  # type: ignore[arg-type]
        for row in _rows("claims.csv")
    )


def value(name: str) -> float:
    """Return the number of a claim, by its id."""
    found = next(claim.value for claim in published_claims() if claim.id == name)
    assert found is not None
    return found


@functools.cache
def settings() -> dict[str, str]:
    """Return the settings of the paper's runs by name, most of them unverified."""
    return {row["name"]: row["value"] for row in _rows("settings.csv")}


def setting(name: str) -> int:
    """Return a setting that is a whole number."""
    return int(settings()[name])


@functools.cache
def all_reduce_points() -> dict[tuple[int, int], float]:
    """Return bus bandwidths of all-reduces on H100 nodes, by nodes and bytes, read off the paper's figure. [B/s]"""
    path = data_root() / "published" / "fernandez2024_all_reduce.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return {
            (int(row["nodes"]), int(row["size_bytes"])): float(row["busbw_bytes_per_s"]) for row in csv.DictReader(file)
        }


def _rows(name: str) -> list[dict[str, str]]:
    with (data_root() / "published" / "fernandez2024" / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
