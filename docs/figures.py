"""The studies' figures, for the pages to show."""

from collections.abc import Iterator
from pathlib import Path

from walltime.report.charts import chart_bytes
from walltime.studies import fernandez2024
from walltime.studies.erdil2024 import FIGURES, Study


def charts() -> Iterator[tuple[str, bytes]]:
    """Yield every figure by its name, drawn; those of `fernandez2024` have the study before it."""
    study = Study("as_published")
    for name, figure in FIGURES.items():
        yield name, chart_bytes(figure(study), "svg", "as published")
    for name, of_experiment in fernandez2024.FIGURES.items():
        yield f"fernandez2024_{name}", chart_bytes(of_experiment(), "svg")


def write(folder: Path) -> None:
    """Compute every figure and write it as SVG; one that has not changed is left alone."""
    folder.mkdir(exist_ok=True)
    for name, chart in charts():
        path = folder / f"{name}.svg"
        if not path.exists() or path.read_bytes() != chart:
            path.write_bytes(chart)
