"""One self-contained page for a study: inline style and drawings, no script, nothing fetched."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from walltime.limits import LatencyWall, LinearScalingEnd
from walltime.report.inline import flop, paragraphs, prose, with_links
from walltime.report.page_parts import (
    Drawn,
    contents,
    figure_card,
    footer,
    scrolled,
    section,
    sources_list,
    whole_page,
)
from walltime.report.thresholds import ruler, thresholds_table
from walltime.studies.erdil2024 import CLUSTER_LABELS, Headline

_QUANTITIES = {
    "t_crit": "T_crit, closed form of where linear scaling ends",
    "t_limit": "T_limit, closed form of the latency wall",
    "linear_scaling_end": "End of linear scaling: first run at or below 80 % of the plateau",
    "latency_wall": "Latency wall: last feasible run",
}


@dataclass(frozen=True)
class Reading:
    """What a study says in one mode.

    Attributes
    ----------
    mode, label
        Name of the mode, and what the page calls it.
    figures
        By name.
    headlines
        The paper's numbers beside ours; none if they were not asked for.
    end, wall
        The two thresholds of the study's main curve.
    """

    mode: str
    label: str
    figures: Mapping[str, Drawn]
    headlines: Sequence[Headline]
    end: LinearScalingEnd
    wall: LatencyWall


def study_page(
    title: str,
    byline: str,
    abstract: str,
    readings: Sequence[Reading],
    *,
    notes: str,
    sources: Mapping[str, str],
    versions: Mapping[str, str],
) -> str:
    """Return the page.

    Parameters
    ----------
    title, byline, abstract
        The paper's title, who wrote it, and one paragraph that answers its question; plain text.
    readings
        One a mode, in the order of the columns.
    notes
        What this does not model: paragraphs set apart by empty lines, list items behind dashes.
    sources
        Readable entries by BibTeX key.
    versions
        Names and versions for the foot of the page.
    """
    names = list(dict.fromkeys(name for reading in readings for name in reading.figures))
    body = "\n".join(
        [
            f'<header>\n<p class="kicker">walltime reproduces</p>\n<h1>{prose(title)}</h1>',
            f'<p class="byline">{with_links(byline)}</p>\n</header>\n<main>',
            _answer(abstract, readings),
            *_contents(readings, names),
            *_headlines(readings),
            *(_figure(name, readings) for name in names),
            section("limits", "What this does not model", f'<div class="prose">{paragraphs(notes)}</div>'),
            section("sources", "Sources", sources_list(sources)),
            "</main>",
            footer(versions),
        ]
    )
    return whole_page(title, body)


def _answer(abstract: str, readings: Sequence[Reading]) -> str:
    rows = [(reading.label, reading.end, reading.wall) for reading in readings]
    content = f'<p class="abstract">{prose(abstract)}</p>\n{ruler(rows)}\n{thresholds_table(rows)}'
    return section("answer", "How far can training scale?", content)


def _contents(readings: Sequence[Reading], names: Sequence[str]) -> Iterator[str]:
    links = [("headlines", "The paper’s numbers beside ours")] if readings[0].headlines else []
    links += [(name, _first(readings, name).figure.title) for name in names]
    links += [("limits", "What this does not model"), ("sources", "Sources")]
    yield contents(links)


def _first(readings: Sequence[Reading], name: str) -> Drawn:
    return next(reading.figures[name] for reading in readings if name in reading.figures)


def _headlines(readings: Sequence[Reading]) -> Iterator[str]:
    if not readings[0].headlines:
        return
    columns = ["accelerator and network", "setting", "paper"]
    for reading in readings:
        columns += [reading.label, _beside(reading)]
    columns.append("kind")
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    together = zip(*(reading.headlines for reading in readings), strict=True)
    groups = groupby(together, key=lambda row: row[0].quantity)
    bodies = "\n".join(_group(quantity, list(rows), readings, len(columns)) for quantity, rows in groups)
    head = f"<caption><span>{_agreement(readings)}</span></caption>\n<thead><tr>{head}</tr></thead>"
    table = f'<table class="headlines">{head}\n{bodies}</table>'
    key = (
        "<dl class='key'><div><dt>paper</dt><dd>printed by the authors</dd></div>"
        "<div><dt>program</dt><dd>their published program, run unchanged</dd></div>"
        "<div><dt>✓</dt><dd>ours rounds to the printed digits</dd></div>"
        "<div><dt>ratio</dt><dd>ours over the paper’s</dd></div></dl>"
    )
    files = '<p class="files"><a href="headlines.csv">headlines.csv</a></p>'
    content = f"{scrolled(table, 'Headline numbers')}\n{key}\n{files}"
    yield section("headlines", "The paper’s numbers beside ours", content)


def _agreement(readings: Sequence[Reading]) -> str:
    reading = readings[0]
    agreeing = sum(headline.agrees for headline in reading.headlines)
    return (
        f"Training compute in FLOP. {reading.label.capitalize()}, {agreeing} of {len(reading.headlines)} "
        "published numbers are reproduced to every printed digit."
    )


def _beside(reading: Reading) -> str:
    return "deviation" if reading.mode == "as_published" else "ratio"


def _group(quantity: str, rows: Sequence[Sequence[Headline]], readings: Sequence[Reading], width: int) -> str:
    name = prose(_QUANTITIES.get(quantity, quantity.replace("_", " ")))
    lines = "\n".join(_headline(row, readings) for row in rows)
    heading = f'<tr><th colspan="{width}" scope="rowgroup"><span>{name}</span></th></tr>'
    return f"<tbody>\n{heading}\n{lines}\n</tbody>"


def _headline(row: Sequence[Headline], readings: Sequence[Reading]) -> str:
    of = row[0]
    setting = prose(_in_words(of.setting))
    cells = f'<th scope="row">{escape(CLUSTER_LABELS.get(of.accelerator, of.accelerator))}</th>'
    cells += f"<td>{setting}</td><td class='n'>{prose(of.printed)}</td>"
    for headline, reading in zip(row, readings, strict=True):
        cells += f"<td class='n'>{flop(headline.ours_flop)}</td><td class='n'>{_compared(headline, reading)}</td>"
    kind = f'<abbr title="{escape(of.locator)}">{escape(of.kind)}</abbr>'
    return f"<tr>{cells}<td>{kind}</td></tr>"


def _in_words(setting: str) -> str:
    for short, long in (("alpha ", "α = "), ("none batch", "constant batch"), ("deepseek", "DeepSeek")):
        setting = setting.replace(short, long)
    return setting


def _compared(headline: Headline, reading: Reading) -> str:
    if headline.ours_flop is None or headline.deviation is None:
        return "–"
    if reading.mode != "as_published":
        return f"{1 + headline.deviation:.2f}"
    tick = ' <span class="ok" title="agrees to the printed digits">✓</span>' if headline.agrees else ""
    return f"{100 * headline.deviation:+.2f} %".replace("-", "−") + tick


def _figure(name: str, readings: Sequence[Reading]) -> str:
    title = _first(readings, name).figure.title
    shown = [(reading, reading.figures[name]) for reading in readings if name in reading.figures]
    wide = " wide" if len(shown[0][1].figure.panels) > 1 else ""
    cards = "\n".join(
        figure_card(drawn, reading.mode, reading.label, f"{drawn.figure.title}, {reading.label}")
        for reading, drawn in shown
    )
    return section(name, prose(title), f'<div class="pair{wide}">\n{cards}\n</div>')


__all__ = ["Drawn", "Reading", "study_page"]
