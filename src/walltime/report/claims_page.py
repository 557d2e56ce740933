"""The page of a study that is held against claims: what the paper says beside ours, figures, what hangs on what."""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

from walltime.report.inline import paragraphs, prose, with_links
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
from walltime.studies.fernandez2024.claims import Claim, counted
from walltime.studies.fernandez2024.published import TAGS

_MARKS = {"reproduced": "✓", "contradicted": "✗", "not testable": "–", "unverified": "–"}
_COLUMNS = ("the paper says", "paper", "ours", "verdict", "by which mechanism")


def claims_page(
    title: str,
    byline: str,
    abstract: str,
    claims: Sequence[Claim],
    variants: Sequence[Mapping[str, Any]],
    figures: Mapping[str, Drawn],
    *,
    notes: str,
    sources: Mapping[str, str],
    versions: Mapping[str, str],
) -> str:
    """Return the page.

    Parameters
    ----------
    title, byline, abstract
        The paper's title, who wrote it, and one paragraph that says what came out; plain text.
    claims
        The paper's claims beside ours; none if they were not asked for.
    variants
        Rows of sensitivities, shares by column.
    figures
        By name.
    notes
        What is not modelled, as for `walltime.report.page.study_page`.
    sources, versions
        Readable entries by key; what the page stands on.
    """
    links = [("claims", "The paper’s claims beside ours")] if claims else []
    links += [("sensitivity", "What the headline hangs on")] if variants else []
    links += [(name, drawn.figure.title) for name, drawn in figures.items()]
    links += [("limits", "What is not known and not modelled"), ("sources", "Sources")]
    body = [
        f'<header>\n<p class="kicker">walltime reproduces</p>\n<h1>{prose(title)}</h1>',
        f'<p class="byline">{with_links(byline)}</p>\n</header>\n<main>',
        section("answer", "What comes out", f'<p class="abstract">{_unbroken(prose(abstract))}</p>'),
        contents(links),
        *([section("claims", "The paper’s claims beside ours", _claims(claims))] if claims else []),
        *([section("sensitivity", "What the headline hangs on", _variants(variants))] if variants else []),
        *(_figure(name, drawn) for name, drawn in figures.items()),
        section("limits", "What is not known and not modelled", f'<div class="prose">{paragraphs(notes)}</div>'),
        section("sources", "Sources", sources_list(sources)),
        "</main>",
        footer(versions),
    ]
    return whole_page(title, "\n".join(body), ("page", "claims"))


def summary(claims: Sequence[Claim]) -> str:
    """Say how many claims have which verdict, and how many of those that are met were predicted."""
    counts = counted(claims)
    own = [one for one in claims if not one.published.same_as]
    predicted = sum(one.verdict == "reproduced" and one.published.basis == "predicted" for one in own)
    return (
        f"Of {len(own)} claims {counts['reproduced']} are reproduced, {predicted} of them predicted and the others "
        f"calibrated on what they say; {counts['contradicted']} are contradicted, {counts['not testable']} cannot be "
        f"tested, and {counts['unverified']} are unverified and not judged. {len(claims) - len(own)} more restate "
        f"numbers of these and are not counted again. {_otherwise(own)}"
    )


def _otherwise(claims: Sequence[Claim]) -> str:
    """Say which verdicts are others where plans may be of any kind."""
    found = [one for one in claims if one.any_plan_verdict not in (None, one.verdict)]
    named = ", ".join(f"{one.published.title} ({one.ours_any_plan}, {one.any_plan_verdict})" for one in found)
    otherwise = f"what comes out otherwise is {named}" if found else "it is the same"
    return (
        "Where the best plan matters, that is of tensor × pipeline × FSDP, the paper’s kinds of plans; with any plan "
        f"that the planner finds, {otherwise}."
    )


def _claims(claims: Sequence[Claim]) -> str:
    head = "".join(f'<th scope="col">{column}</th>' for column in _COLUMNS)
    groups = groupby(claims, key=lambda claim: claim.published.experiment)
    bodies = "\n".join(_group(name, list(rows)) for name, rows in groups)
    caption = f"<caption><span>{prose(summary(claims))}</span></caption>"
    table = f'<table class="claims">{caption}\n<thead><tr>{head}</tr></thead>\n{bodies}</table>'
    used = {claim.published.tag for claim in claims}
    tags = "".join(f"<div><dt>{tag}</dt><dd>{said}</dd></div>" for tag, said in TAGS.items() if tag in used)
    files = '<p class="files"><a href="claims.csv">claims.csv</a></p>'
    return f"{scrolled(table, 'Claims')}\n<dl class='key'>{tags}</dl>\n{files}"


def _group(experiment: str, claims: Sequence[Claim]) -> str:
    heading = f'<tr><th colspan="{len(_COLUMNS)}" scope="rowgroup"><span>{prose(experiment)}</span></th></tr>'
    return f"<tbody>\n{heading}\n" + "\n".join(_row(claim) for claim in claims) + "\n</tbody>"


def _row(claim: Claim) -> str:
    of = claim.published
    tag = f'<abbr title="{escape(TAGS[of.tag])}: {escape(of.locator)}">{of.tag.lower()}</abbr>'
    known = f" {of.deviation}" if claim.verdict == "contradicted" else ""
    ours_alone = "our threshold:<br>" if of.threshold is not None else ""
    within = f"<small>{ours_alone}{escape(claim.tolerance)}</small>" if claim.tolerance else ""
    paper = "<br>".join(filter(None, (escape(claim.paper), within)))
    any_plan = f"<small>any plan: {escape(claim.ours_any_plan)}</small>" if claim.ours_any_plan else ""
    ours = "<br>".join(filter(None, (escape(claim.ours), any_plan)))
    cells = (paper, ours, _verdict(claim))
    numbers = "".join(_cell(name, html, "n") for name, html in zip(_COLUMNS[1:], cells, strict=False))
    return (
        f'<tr id="claim-{escape(of.id)}"><th scope="row">{prose(of.says)} <small>{tag}</small></th>{numbers}'
        f"{_cell(_COLUMNS[-1], _unbroken(prose(claim.finding.mechanism + known)))}</tr>"
    )


def _cell(column: str, html: str, style: str = "") -> str:
    """Return a cell that says which column it is of, for narrow screens, where rows are stacked."""
    of_style = f' class="{style}"' if style else ""
    inside = f"<div>{html}</div>" if html else ""
    return f'<td{of_style} data-label="{escape(column)}">{inside}</td>'


def _unbroken(html: str) -> str:
    """Keep a number and its percent sign on one line."""
    return html.replace(" %", "&nbsp;%")


def _verdict(claim: Claim) -> str:
    judged = claim.verdict in ("reproduced", "contradicted")
    style = ' class="ok"' if claim.verdict == "reproduced" else ""
    notes = [claim.published.basis] if judged else []
    notes += [f"any plan: {claim.any_plan_verdict}"] if claim.any_plan_verdict not in (None, claim.verdict) else []
    notes += ["restates others"] if claim.published.same_as else []
    small = "".join(f"<br><small>{note}</small>" for note in notes)
    return f"<span{style}>{_MARKS[claim.verdict]} {claim.verdict}</span>{small}"


def _variants(variants: Sequence[Mapping[str, Any]]) -> str:
    first = variants[0]
    columns = ("", "tokens/s per GPU", "power per GPU", "tokens/J", "degree 2 to 4 over FSDP alone, tokens/s")
    keys = ("tokens_per_s_per_gpu_change", "board_power_change", "tokens_per_j_change", "model_parallel_gain")
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    rows = "\n".join(
        f'<tr><th scope="row">{prose(str(row["variant"]))}</th>'
        + "".join(
            _cell(column, _share(row[key], str(row["status"])), "n")
            for column, key in zip(columns[1:], keys, strict=True)
        )
        + "</tr>"
        for row in variants
    )
    said = (
        f"Weak scaling with FSDP alone from {first['base_num_gpus']:,} to {first['num_gpus']:,} H100s, one thing "
        f"changed a row; the last column is of {first['num_gpus']:,}. The first row is what is held against the paper."
    )
    table = f'<table class="claims"><caption><span>{said}</span></caption>\n<thead><tr>{head}</tr></thead>'
    files = '<p class="files"><a href="sensitivity.csv">sensitivity.csv</a></p>'
    return f"{scrolled(f'{table}<tbody>{rows}</tbody></table>', 'Sensitivities')}\n{files}"


def _share(value: float | None, status: str) -> str:
    return escape(status) if value is None else f"{100 * value:+.1f} %".replace("-", "−")


def _figure(name: str, drawn: Drawn) -> str:
    """Return a section whose heading is in the chart, and beside it only for those who hear the page."""
    wide = " wide" if len(drawn.figure.panels) > 1 else ""
    card = figure_card(drawn, "study", "", drawn.figure.title)
    heading = f'<span class="heard">{prose(drawn.figure.title)}</span>'
    return section(name, heading, f'<div class="pair{wide}">\n{card}\n</div>')
