"""The study fernandez2024 as a folder: a page, a table of claims, and for each figure its data and charts."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from walltime.catalog import data_root, sources
from walltime.durable import atomic_text
from walltime.report.charts import require_matplotlib
from walltime.report.claims_page import claims_page, summary
from walltime.report.files import csv_text, staged
from walltime.report.page_parts import Drawn
from walltime.report.study import versions, write_figure
from walltime.studies.fernandez2024 import FIGURES, Claim, hangs_on, variants
from walltime.studies.fernandez2024.published import published_claims

_TITLE = "Hardware scaling trends and diminishing returns in large-scale distributed training"
_BYLINE = (
    "Jared Fernandez, Luca Wehrstedt, Leonid Shamis, Mostafa Elhoushi, Kalyan Saladi, Yonatan Bisk, Emma Strubell and "
    "Jacob Kahn, 2024. https://arxiv.org/abs/2411.13055"
)
_CITED = (
    "collectives2026",
    "training2026",
    "morrison2025holistically",
    "patel2023polca",
    "touvron2023llama2",
    "meta2024llama32",
)
_ANCHORS = ("weak-throughput", "weak-power", "sweep-throughput", "strong-few", "strong-many", "generation-ratio")


def write_claims_study(
    out: Path,
    names: Sequence[str],
    claims: Sequence[Claim],
    executor: Executor,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write the study's files under ``out``: all of them, or on an exception, Ctrl-C or ``kill`` none.

    Parameters
    ----------
    out
        A folder, made if need be. Files of the same names are replaced, others stay.
    names
        Which figures.
    claims
        The paper's claims beside ours; none leaves them and the sensitivities out.
    executor
        Draws figures side by side.
    progress
        Called with figures done and in all.

    Returns
    -------
    list of Path
        What was written: ``figures/<figure>.csv``, ``.png`` and ``.svg``, ``claims.csv``, ``sensitivity.csv``,
        ``index.html``.
    """
    require_matplotlib()
    with staged(out) as staging:
        (staging / "figures").mkdir()
        figures = _drawn(staging, names, executor, progress)
        changed = [variant.row() for variant in variants()] if claims else []
        if claims:
            atomic_text(staging / "claims.csv", csv_text([claim.row() for claim in claims]))
            atomic_text(staging / "sensitivity.csv", csv_text(changed))
        atomic_text(staging / "index.html", _page(figures, claims, changed))
        written = sorted(path.relative_to(staging) for path in staging.rglob("*") if path.is_file())
    return [out / path for path in written]


def _drawn(
    folder: Path, names: Sequence[str], executor: Executor, progress: Callable[[int, int], None] | None
) -> dict[str, Drawn]:
    futures = {name: executor.submit(_write, folder, name) for name in names}
    found = {}
    for done, (name, future) in enumerate(futures.items(), 1):
        found[name] = future.result()
        if progress:
            progress(done, len(futures))
    return found


def _write(folder: Path, name: str) -> Drawn:
    return write_figure(folder, "figures", FIGURES[name]())


def _page(figures: Mapping[str, Drawn], claims: Sequence[Claim], changed: Sequence[Mapping[str, Any]]) -> str:
    notes = (data_root() / "published" / "fernandez2024" / "notes.md").read_text(encoding="utf-8")
    used = {one.source for one in published_claims()} | set(_CITED)
    listed = {key: str(source) for key, source in sources().items() if key in used}
    return claims_page(
        _TITLE,
        _BYLINE,
        abstract(claims, changed),
        claims,
        changed,
        figures,
        notes=notes,
        sources=listed,
        versions=versions(),
    )


def abstract(claims: Sequence[Claim], changed: Sequence[Mapping[str, Any]] = ()) -> str:
    """Say what came out, in a paragraph; with the rows of sensitivities also what it hangs on."""
    if not claims:
        return (
            "Some figures of the study; its claims are on the page of the whole (walltime reproduce fernandez2024 all)."
        )
    anchors = {claim.published.id: claim for claim in claims}
    said = [f"{_short(anchors[name])}" for name in _ANCHORS if name in anchors]
    hangs = f" {hangs_on(changed)}" if changed else ""
    return f"{summary(claims)} The anchors: {'; '.join(said)}.{hangs}"


def _short(claim: Claim) -> str:
    of = claim.published
    beside = f" (paper {claim.paper})" if claim.paper else ""
    otherwise = f", with any plan {claim.ours_any_plan}" if claim.ours_any_plan else ""
    return f"{_IN_SHORT[of.id]} {claim.ours}{otherwise}{beside}, {of.basis}"


_IN_SHORT = {
    "weak-throughput": "tokens/s per GPU from 128 to 2,048 H100s",
    "weak-power": "power per GPU",
    "sweep-throughput": "a tensor or pipeline degree of 2 to 4 over FSDP alone at 2,048",
    "strong-few": "MFU at a fixed batch on 2 nodes",
    "strong-many": "and on 32",
    "generation-ratio": "MFU on A100 over H100",
}
