"""One self-contained page for a study: inline style and drawings, no script, nothing fetched."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from walltime.limits import LatencyWall, LinearScalingEnd
from walltime.report.inline import flop, paragraphs, prose, svg_element, with_links
from walltime.report.thresholds import ruler, thresholds_table
from walltime.studies.erdil2024 import CLUSTER_LABELS, Headline
from walltime.studies.figure import Figure

_QUANTITIES = {
    "t_crit": "T_crit, closed form of where linear scaling ends",
    "t_limit": "T_limit, closed form of the latency wall",
    "linear_scaling_end": "End of linear scaling: first run at or below 80 % of the plateau",
    "latency_wall": "Latency wall: last feasible run",
}
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True)
class Drawn:
    """A figure, its chart as SVG, and where its files are, relative to the page."""

    figure: Figure
    svg: str
    files: Mapping[str, str]


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
            _section("limits", "What this does not model", f'<div class="prose">{paragraphs(notes)}</div>'),
            _section("sources", "Sources", _sources(sources)),
            "</main>",
            _footer(versions),
        ]
    )
    return _PAGE.format(
        title=escape(title), policy=_POLICY, style=_style(), icon="data:,", body=body.replace("\r\n", "\n")
    )


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}: reproduced with walltime</title>
<link rel="icon" href="{icon}">
<style>
{style}</style>
</head>
<body>
{body}
</body>
</html>
"""


def _style() -> str:
    return Path(__file__).with_name("page.css").read_text(encoding="utf-8")


def _section(anchor: str, heading: str, content: str) -> str:
    return f'<section id="{anchor}">\n<h2>{heading}</h2>\n{content}\n</section>'


def _answer(abstract: str, readings: Sequence[Reading]) -> str:
    rows = [(reading.label, reading.end, reading.wall) for reading in readings]
    content = f'<p class="abstract">{prose(abstract)}</p>\n{ruler(rows)}\n{thresholds_table(rows)}'
    return _section("answer", "How far can training scale?", content)


def _contents(readings: Sequence[Reading], names: Sequence[str]) -> Iterator[str]:
    links = [("headlines", "The paper’s numbers beside ours")] if readings[0].headlines else []
    links += [(name, _first(readings, name).figure.title) for name in names]
    links += [("limits", "What this does not model"), ("sources", "Sources")]
    items = "".join(f'<li><a href="#{anchor}">{prose(text)}</a></li>' for anchor, text in links)
    yield f'<nav aria-label="Contents"><ol>{items}</ol></nav>'


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
    content = f"{_scrolled(table, 'Headline numbers')}\n{key}\n{files}"
    yield _section("headlines", "The paper’s numbers beside ours", content)


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
    cards = "\n".join(_card(reading, drawn) for reading, drawn in shown)
    return _section(name, prose(title), f'<div class="pair{wide}">\n{cards}\n</div>')


def _card(reading: Reading, drawn: Drawn) -> str:
    figure, label = drawn.figure, f"{drawn.figure.title}, {reading.label}"
    chart = svg_element(drawn.svg, f"{reading.mode}-{figure.name}".replace("_", "-"))
    links = " ".join(f'<a href="{escape(path)}">{kind.upper()}</a>' for kind, path in drawn.files.items())
    return (
        f'<figure>\n<div class="chart" tabindex="0" role="group" aria-label="{escape(label)}">{chart}</div>\n'
        f"<figcaption><h3>{escape(reading.label)}</h3><p>{prose(figure.caption)}</p></figcaption>\n"
        f"<details><summary>Data, {len(figure.rows)} rows</summary>{_data(figure, label)}</details>\n"
        f'<p class="files">{links}</p>\n</figure>'
    )


def _data(figure: Figure, label: str) -> str:
    columns = list(dict.fromkeys(key for row in figure.rows for key in row))
    head = "".join(f'<th scope="col">{escape(key).replace("_", "_<wbr>")}</th>' for key in columns)
    rows = "\n".join(f"<tr>{_data_cells(row, columns)}</tr>" for row in figure.rows)
    table = f"<table class='data'><caption><span>{prose(label)}; rounded, exact in the CSV file</span></caption>"
    return _scrolled(f"{table}<thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table>", f"Data: {label}")


def _data_cells(row: Mapping[str, Any], columns: Iterable[str]) -> str:
    return "".join(f"<td>{escape(_shown(row.get(column)))}</td>" for column in columns)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}".replace("e+", "e") if abs(value) < float("inf") else ""
    return "" if value is None else str(value)


def _scrolled(table: str, label: str) -> str:
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">{table}</div>'


def _sources(sources: Mapping[str, str]) -> str:
    entries = "\n".join(
        f'<li id="source-{escape(key)}"><code>{escape(key)}</code> {with_links(entry)}</li>'
        for key, entry in sources.items()
    )
    return f'<ul class="sources">\n{entries}\n</ul>'


def _footer(versions: Mapping[str, str]) -> str:
    entries = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(version)}</dd></div>" for name, version in versions.items()
    )
    return f"<footer>\n<dl>{entries}</dl>\n</footer>"
