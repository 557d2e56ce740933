"""``walltime reproduce fernandez2024``: the paper's claims beside ours."""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby

from walltime.cli.common import Progress
from walltime.cli.study_request import Reproduced, Request, figure_names, files_written, prepare
from walltime.problems import BadInput
from walltime.report.claims_page import summary
from walltime.report.claims_study import write_claims_study
from walltime.report.terminal import table
from walltime.search.executors import workers
from walltime.studies.fernandez2024 import FIGURES, Claim, claims, hangs_on, variants

_WIDTH = 100
_SIGNS = {"above ": "> ", "over ": "> ", "below ": "< ", "under ": "< ", "points": "pts"}


def reproduced(asked: Request) -> Reproduced:
    """Return the claims beside ours, and write figures where a folder is given."""
    names = figure_names(asked.figures, FIGURES)
    if asked.modes:
        raise BadInput(f"mode {asked.modes[0]!r} is none of fernandez2024: it has one reading. Valid: without --mode.")
    prepare(asked)
    found = list(claims()) if asked.whole else []
    written = _written(asked, names, found)
    told = [*_told(found), *([files_written(written, asked.out)] if asked.out else [])]
    return Reproduced(
        inputs={"paper": "Fernandez2024", "figures": names},
        result={"claims": [claim.row() for claim in found], "files": written},
        told=told,
        problem=_problem(found),
    )


def _written(asked: Request, names: Sequence[str], found: Sequence[Claim]) -> list[str]:
    if asked.out is None:
        return []
    progress = Progress("figures")
    with workers(asked.num_workers) as executor:
        paths = write_claims_study(asked.out, names, found, executor, progress)
    progress.finish()
    return [str(path) for path in paths]


def _told(found: Sequence[Claim]) -> Iterator[str]:
    if not found:
        return
    yield "\n".join(_grouped(found))
    known = [claim for claim in found if claim.verdict == "contradicted" and claim.published.deviation]
    if known:
        lines = [f"{claim.published.title}: {claim.published.deviation}" for claim in known]
        yield "Known deviations\n" + "\n".join(textwrap.fill(line, _WIDTH, subsequent_indent="  ") for line in lines)
    yield textwrap.fill(summary(found), _WIDTH)
    yield textwrap.fill(hangs_on([variant.row() for variant in variants()]), _WIDTH)


def _grouped(found: Sequence[Claim]) -> Iterator[str]:
    """Yield the lines of one table, claims under the experiments that they are about."""
    header = ["the paper says", "", "verdict", "", "paper", "ours", "held to"]
    rows = [(claim.published.experiment, row) for claim in found for row in _rows(claim)]
    head, rule, *lines = table(header, [row for _, row in rows], left=4).splitlines()
    yield from (head, rule)
    pairs = zip(rows, lines, strict=True)
    for name, of in groupby(pairs, key=lambda pair: pair[0][0]):
        yield f"\n{name}"
        yield from (line for _, line in of)


def _rows(claim: Claim) -> Iterator[list[str]]:
    """Yield the row of a claim, and that of any plan where the verdict is on the best of the paper's kinds of plans."""
    of = claim.published
    basis = of.basis if claim.verdict in ("reproduced", "contradicted") else ""
    basis = "the same" if of.same_as else basis
    yield [of.title, of.tag.lower(), claim.verdict, basis, *map(_brief, (claim.paper, claim.ours, claim.tolerance))]
    if claim.any_plan_verdict:
        yield ["  with any plan", "", claim.any_plan_verdict, "", "", _brief(claim.ours_any_plan), ""]


def _brief(shown: str) -> str:
    for words, sign in _SIGNS.items():
        shown = shown.replace(words, sign)
    return shown


def _problem(found: Sequence[Claim]) -> str:
    wrong = [claim.published.id for claim in found if claim.fails]
    return f"{len(wrong)} of {len(found)} claims do not come out: {', '.join(wrong)}." if wrong else ""
