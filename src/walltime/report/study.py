"""A whole study as a folder: a page, a table of headline numbers, and for each figure its data and charts."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from walltime import __version__
from walltime.catalog import data_version
from walltime.durable import atomic_bytes, atomic_text
from walltime.problems import unknown
from walltime.report.charts import FORMATS, chart_bytes, require_matplotlib
from walltime.report.files import csv_text, staged
from walltime.report.page import Reading, study_page
from walltime.report.page_parts import Drawn
from walltime.report.thresholds import in_words
from walltime.studies.erdil2024 import FIGURES, CurveKey, Headline, Study, headlines
from walltime.studies.figure import Figure

_TITLE = "Data movement limits to frontier model training"
_BYLINE = "Ege Erdil and David Schneider-Joseph, 2024. https://arxiv.org/abs/2411.01137"
_SUBJECT = "For a dense model trained for three months on H100s"
_MAIN_CURVE = CurveKey("h100-sxm")
_LABELS = {"as_published": "as published", "corrected": "corrected, full space"}
_PHRASES = {"corrected": "corrected and over the full space of plans"}


def write_study(
    out: Path,
    studies: Mapping[str, Study],
    figure_names: Sequence[str] = (),
    *,
    notes: str,
    sources: Mapping[str, str],
    headline_numbers: bool = True,
) -> list[Path]:
    """Write a study's files under ``out``: all of them, or on an exception, Ctrl-C or ``kill`` none.

    Parameters
    ----------
    out
        A folder, made if need be. Files of the same names are replaced, others stay.
    studies
        By mode, in the order of the page's columns.
    figure_names
        Which figures; by default all.
    notes, sources
        See `walltime.report.page.study_page`.
    headline_numbers
        Whether to compare the paper's headline numbers with ours, for which every curve is computed.

    Returns
    -------
    list of Path
        What was written: ``<mode>/<figure>.csv``, ``.png`` and ``.svg``, ``headlines.csv``, ``index.html``.

    Raises
    ------
    BadInput
        An unknown figure, or a folder that cannot be written to.
    MissingExtra
        Matplotlib is not installed.
    """
    require_matplotlib()
    names = list(dict.fromkeys(figure_names)) or list(FIGURES)
    for name in names:
        if name not in FIGURES:
            raise unknown("figure", name, FIGURES)
    with staged(out) as staging:
        readings = [_reading(staging, mode, study, names, headline_numbers) for mode, study in studies.items()]
        if headline_numbers:
            atomic_text(staging / "headlines.csv", csv_text(list(_headline_rows(readings))))
        atomic_text(staging / "index.html", _page(readings, notes, sources))
        written = sorted(path.relative_to(staging) for path in staging.rglob("*") if path.is_file())
    return [out / path for path in written]


def _reading(folder: Path, mode: str, study: Study, names: Sequence[str], headline_numbers: bool) -> Reading:
    (folder / mode).mkdir()
    figures = {name: _drawn(folder, mode, study, name) for name in names}
    curve = study.frontier(_MAIN_CURVE)
    return Reading(
        mode=mode,
        label=_LABELS.get(mode, mode.replace("_", " ")),
        figures=figures,
        headlines=headlines(study) if headline_numbers else [],
        end=curve.linear_scaling_end(),
        wall=curve.latency_wall,
    )


def _drawn(folder: Path, mode: str, study: Study, name: str) -> Drawn:
    return write_figure(folder, mode, FIGURES[name](study), _LABELS.get(mode, mode))


def write_figure(folder: Path, under: str, figure: Figure, note: str = "") -> Drawn:
    """Write a figure's data and charts as ``<under>/<figure>.csv``, ``.png`` and ``.svg``, and return it drawn."""
    files = {kind: f"{under}/{figure.name}.{kind}" for kind in ("csv", *FORMATS)}
    charts = {kind: chart_bytes(figure, kind, note) for kind in FORMATS}
    atomic_text(folder / files["csv"], csv_text(figure.rows))
    for kind, chart in charts.items():
        atomic_bytes(folder / files[kind], chart)
    return Drawn(figure, charts["svg"].decode(), files)


def _headline_rows(readings: Sequence[Reading]) -> Iterator[dict[str, Any]]:
    for row in zip(*(reading.headlines for reading in readings), strict=True):
        of: Headline = row[0]
        yield {
            "quantity": of.quantity,
            "cluster": of.accelerator,
            "setting": of.setting,
            "paper_flop": of.paper_flop,
            "kind": of.kind,
            "locator": of.locator,
        } | {
            f"{reading.mode}_{name}": value
            for reading, ours in zip(readings, row, strict=True)
            for name, value in (
                ("flop", ours.ours_flop),
                ("deviation", ours.deviation),
                ("agrees", ours.agrees),
            )
        }


def _page(readings: Sequence[Reading], notes: str, sources: Mapping[str, str]) -> str:
    thresholds = [(_PHRASES.get(r.mode, r.label), r.end, r.wall) for r in readings]
    abstract = in_words(_SUBJECT, thresholds)
    return study_page(_TITLE, _BYLINE, abstract, readings, notes=notes, sources=sources, versions=versions())


def versions() -> dict[str, str]:
    """Return what a page was made with, by name."""
    import matplotlib as mpl
    import numpy as np

    return {
        "walltime": __version__,
        "data": data_version(),
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "Matplotlib": mpl.__version__,
    }
