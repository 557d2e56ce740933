"""``walltime reproduce``: a paper's figures and tables, its numbers beside ours."""

from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path

import click

from walltime.catalog import data_root, parameter_set, sources
from walltime.cli.common import Progress, emit_json, json_option
from walltime.problems import BadInput, NegativeAnswer, unknown
from walltime.report.charts import require_matplotlib
from walltime.report.files import check_writable
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
@click.option("--mode", "modes", multiple=True, help="as_published or corrected (repeat). Default: both.")
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

    PAPER is erdil2024. Without --out, prints the headline numbers; with it, also writes every FIGURE as CSV, PNG
    and SVG and one HTML page with all of them. Exit 3 if a headline number as published does not come out.

    \b
    walltime reproduce erdil2024
    walltime reproduce erdil2024 all --out out/erdil2024
    """
    if paper.lower() != "erdil2024":
        raise unknown("paper", paper, ("erdil2024",))
    names = _figure_names(figures)
    chosen = _modes(modes)
    if figures and out is None:
        raise BadInput("figures need a folder to be written to. Valid: --out DIR.")
    whole = not figures or "all" in figures
    if out is not None:
        require_matplotlib()
        check_writable(out)
    with workers(num_workers or available_cores()) as executor:
        studies = {mode: _study(mode, executor, whole) for mode in chosen}
        written = [] if out is None else _write(out, studies, names, whole)
        compared = {mode: headlines(study) for mode, study in studies.items()} if whole else {}
    if as_json:
        rows = {
            mode: [{**vars(row), "deviation": row.deviation, "agrees": row.agrees} for row in table_rows]
            for mode, table_rows in compared.items()
        }
        emit_json(
            "reproduce",
            {"paper": PARAMETERS, "figures": names, "modes": chosen},
            {"headlines": rows, "files": written},
            [],
        )
    else:
        click.echo("\n\n".join(_told(compared, written, out)))
    _judge(compared)


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
        yield f"{len(written)} files in {out}; start with {out / 'index.html'}"


def _figure_names(figures: tuple[str, ...]) -> list[str]:
    for name in figures:
        if name not in FIGURES and name != "all":
            raise unknown("figure", name, [*FIGURES, "all"])
    return list(FIGURES) if not figures or "all" in figures else list(dict.fromkeys(figures))


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


def _judge(compared: dict[str, list[Headline]]) -> None:
    published = compared.get("as_published", [])
    wrong = [h for h in published if not h.agrees]
    if wrong:
        raise NegativeAnswer(f"{len(wrong)} of {len(published)} headline numbers do not come out as published.")
