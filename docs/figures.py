"""The study's figures as published, for the pages to show."""

from pathlib import Path

from walltime.report.charts import chart_bytes
from walltime.studies.erdil2024 import FIGURES, Study


def write(folder: Path) -> None:
    """Compute every figure and write it as SVG; one that has not changed is left alone."""
    folder.mkdir(exist_ok=True)
    study = Study("as_published")
    for name, figure in FIGURES.items():
        path, chart = folder / f"{name}.svg", chart_bytes(figure(study), "svg", "as published")
        if not path.exists() or path.read_bytes() != chart:
            path.write_bytes(chart)
