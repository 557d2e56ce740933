"""``walltime reproduce``: a paper's figures and tables, its numbers beside ours."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path

import click

from walltime.catalog import data_root, parameter_set, sources
from walltime.cli.common import Progress, emit_json, json_option
from walltime.cli.study_request import Reproduced, Request, figure_names, files_written, prepare
from walltime.problems import NegativeAnswer, unknown
from walltime.report.study import write_study
from walltime.report.terminal import table
from walltime.search.executors import available_cores, workers
from walltime.studies.erdil2024 import FIGURES, MODES, PARAMETERS, Headline, Study, headlines, study_curves
from walltime.units import format_flop

_CITED = ("erdil2024data", "erdil2024article", "bi2024deepseek", "narayanan2021efficient", "qi2023zero")


@click.command("reproduce", short_help="A paper's figures and tables, its numbers beside ours.")
@click.argument("paper", metavar="PAPER")
@click.argument("figures", metavar="[FIGURE... | all]", nargs=-1)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for CSV, PNG, SVG and a page.")
@click.option("--mode", "modes", multiple=True, help="Of erdil2024: as_published or corrected (repeat). Default: both.")
@click.option("--workers", "num_workers", type=click.IntRange(1, 256), help="Processes. Default: every core.")
@json_option
def command(
    paper: str,
    figures: tuple[str, ...],
    out: Path | None,
    modes: tuple[str, ...],
    num_workers: int | None,
    as_json: bool,
) -> None:
    """Reproduce a paper's figures and headline numbers.

    PAPER is erdil2024 or fernandez2024. Without --out, prints the paper's numbers or claims beside ours; with it,
    also writes every FIGURE as CSV, PNG and SVG and one HTML page with all of them. Exit 3 if one does not come out
    and is not known to.

    \b
    walltime reproduce erdil2024
    walltime reproduce fernandez2024 all --out out/fernandez2024
    """
    papers: dict[str, Callable[[Request], Reproduced]] = {"erdil2024": _erdil2024, "fernandez2024": _fernandez2024}
    if paper.lower() not in papers:
        raise unknown("paper", paper, papers)
    asked = Request(figures, out, modes, num_workers or available_cores())
    done = papers[paper.lower()](asked)
    if as_json:
        emit_json("reproduce", done.inputs, done.result, [])
    else:
        click.echo("\n\n".join(done.told))
    if done.problem:
        raise NegativeAnswer(done.problem)


def _fernandez2024(asked: Request) -> Reproduced:
    from walltime.cli.reproduce_fernandez import reproduced

    return reproduced(asked)


def _erdil2024(asked: Request) -> Reproduced:
    names, chosen, out = figure_names(asked.figures, FIGURES), _modes(asked.modes), asked.out
    prepare(asked)
    with workers(asked.num_workers) as executor:
        studies = {mode: _study(mode, executor, asked.whole) for mode in chosen}
        written = [] if out is None else _write(out, studies, names, asked.whole)
        compared = {mode: headlines(study) for mode, study in studies.items()} if asked.whole else {}
    rows = {
        mode: [{**vars(row), "deviation": row.deviation, "agrees": row.agrees} for row in table_rows]
        for mode, table_rows in compared.items()
    }
    return Reproduced(
        inputs={"paper": PARAMETERS, "figures": names, "modes": chosen},
        result={"headlines": rows, "files": written},
        told=list(_told(compared, written, out)),
        problem=_problem(compared),
    )


def _study(mode: str, executor: Executor, whole: bool) -> Study:
    """Return the study, all of its curves computed if it is wanted as a whole."""
    progress = Progress(f"curves {mode}")
    study = Study(mode, executor, progress)
    if whole:
        study.compute(study_curves())
    progress.finish()
    return study


def _told(compared: dict[str, list[Headline]], written: list[str], out: Path | None) -> Iterator[str]:
    if compared:
        yield _table(compared)
    if out is not None:
        yield files_written(written, out)


def _modes(modes: tuple[str, ...]) -> list[str]:
    for mode in modes:
        if mode not in MODES:
            raise unknown("mode", mode, MODES)
    return [mode for mode in MODES if not modes or mode in modes]


def _write(out: Path, studies: dict[str, Study], names: list[str], whole: bool) -> list[str]:
    used = {number.source for number in parameter_set(PARAMETERS).study().numbers().values() if number.source}
    listed = {key: str(source) for key, source in sources().items() if key in used | set(_CITED)}
    notes = (data_root() / "not_modelled.md").read_text(encoding="utf-8")
    paths = write_study(out, studies, names, notes=notes, sources=listed, headline_numbers=whole)
    return [str(path) for path in paths]


def _table(compared: dict[str, list[Headline]]) -> str:
    header = ["quantity", "accelerator", "setting", "paper"]
    for mode in compared:
        header += [mode.replace("_", " "), "deviation"]
    rows = []
    for same in zip(*compared.values(), strict=True):
        first = same[0]
        row = [first.quantity.replace("_", " "), first.accelerator, first.setting, first.printed]
        for ours in same:
            row.append("beyond" if ours.ours_flop is None else format_flop(ours.ours_flop))
            row.append(_deviation(ours))
        rows.append(row)
    return table(header, rows, left=3)


def _deviation(ours: Headline) -> str:
    if ours.deviation is None:
        return "-"
    if ours.agrees:
        return "0"
    return f"{ours.deviation:+.0%}" if abs(ours.deviation) < 1 else f"x{1 + ours.deviation:.3g}"


def _problem(compared: dict[str, list[Headline]]) -> str:
    published = compared.get("as_published", [])
    wrong = [h for h in published if not h.agrees]
    return f"{len(wrong)} of {len(published)} headline numbers do not come out as published." if wrong else ""
