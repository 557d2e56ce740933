"""What pages of studies are made of: one self-contained document, sections, figures with tables, sources."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from walltime.report.inline import prose, svg_element, with_links
from walltime.studies.figure import Figure

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True)
class Drawn:
    """A figure, its chart as SVG, and where its files are, relative to the page."""

    figure: Figure
    svg: str
    files: Mapping[str, str]


def whole_page(title: str, body: str, styles: Iterable[str] = ("page",)) -> str:
    """Return a page with the style of some files beside this one; nothing is fetched, nothing runs."""
    style = "".join(Path(__file__).with_name(f"{name}.css").read_text(encoding="utf-8") for name in styles)
    return _PAGE.format(
        title=escape(title), policy=_POLICY, style=style, icon="data:,", body=body.replace("\r\n", "\n")
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


def section(anchor: str, heading: str, content: str) -> str:
    """Return a section; the heading is HTML."""
    return f'<section id="{anchor}">\n<h2>{heading}</h2>\n{content}\n</section>'


def contents(links: Iterable[tuple[str, str]]) -> str:
    """Return a list of sections: anchors and plain titles."""
    items = "".join(f'<li><a href="#{anchor}">{prose(text)}</a></li>' for anchor, text in links)
    return f'<nav aria-label="Contents"><ol>{items}</ol></nav>'


def figure_card(drawn: Drawn, prefix: str, heading: str, label: str) -> str:
    """Return a chart with its caption, the table behind it, and its files.

    Parameters
    ----------
    drawn
        The figure, drawn.
    prefix
        What makes the drawing's ids unique on the page.
    heading, label
        Over the caption, if there is any, and the name of chart and table.
    """
    figure, over = drawn.figure, f"<h3>{escape(heading)}</h3>" if heading else ""
    chart = svg_element(drawn.svg, f"{prefix}-{figure.name}".replace("_", "-"))
    links = " ".join(f'<a href="{escape(path)}">{kind.upper()}</a>' for kind, path in drawn.files.items())
    return (
        f'<figure>\n<div class="chart" tabindex="0" role="group" aria-label="{escape(label)}">{chart}</div>\n'
        f"<figcaption>{over}<p>{prose(figure.caption)}</p></figcaption>\n"
        f"<details><summary>Data, {len(figure.rows)} rows</summary>{_data(figure, label)}</details>\n"
        f'<p class="files">{links}</p>\n</figure>'
    )


def _data(figure: Figure, label: str) -> str:
    columns = list(dict.fromkeys(key for row in figure.rows for key in row))
    head = "".join(f'<th scope="col">{escape(key).replace("_", "_<wbr>")}</th>' for key in columns)
    rows = "\n".join(f"<tr>{_data_cells(row, columns)}</tr>" for row in figure.rows)
    table = f"<table class='data'><caption><span>{prose(label)}; rounded, exact in the CSV file</span></caption>"
    return scrolled(f"{table}<thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table>", f"Data: {label}")


def _data_cells(row: Mapping[str, Any], columns: Iterable[str]) -> str:
    return "".join(f"<td>{escape(_shown(row.get(column)))}</td>" for column in columns)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}".replace("e+", "e") if abs(value) < float("inf") else ""
    return "" if value is None else str(value)


def scrolled(table: str, label: str) -> str:
    """Return a table in a box that scrolls."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">{table}</div>'


def sources_list(sources: Mapping[str, str]) -> str:
    """Return readable entries of the bibliography by their keys."""
    entries = "\n".join(
        f'<li id="source-{escape(key)}"><code>{escape(key)}</code> {with_links(entry)}</li>'
        for key, entry in sources.items()
    )
    return f'<ul class="sources">\n{entries}\n</ul>'


def footer(versions: Mapping[str, str]) -> str:
    """Return what a page stands on, for its foot."""
    entries = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(version)}</dd></div>" for name, version in versions.items()
    )
    return f"<footer>\n<dl>{entries}</dl>\n</footer>"
