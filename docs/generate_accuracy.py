"""Write the accuracy table into README.md and docs/explanation/accuracy.md: ``python docs/generate_accuracy.py``.

The figures are those of ``tests/data/accuracy.json``, which a test compares with what this build predicts
(``python tests/validate/test_accuracy.py`` writes it anew); another test compares the pages with what this would write.
"""

import json
import re
from pathlib import Path

REPO = Path(__file__).parents[1]
STORED = REPO / "tests" / "data" / "accuracy.json"
PAGES = (REPO / "README.md", REPO / "docs" / "explanation" / "accuracy.md")
_BEGIN = "<!-- accuracy table: written by docs/generate_accuracy.py, do not edit -->"
_END = "<!-- end of accuracy table -->"


def table():
    """The table in Markdown: every source that has timed rows, then all of them."""
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    left_out = "left_out" in stored["overall"]
    header = [
        "source",
        "rows",
        "median",
        "p90",
        "mean",
        "rank",
        "regret",
        "memory",
        "constant utilisation: median, p90",
    ]
    header += ["left out of the fit: median, p90"] if left_out else []
    lines = [header, ["---", *["--:"] * (len(header) - 1)]]
    for source, figures in stored["by_source"].items():
        if figures["median_abs_error"] is None and figures["memory_median_abs_error"] is None:
            continue
        mark = "" if figures["kind"] == "shipped" else " ¹"
        lines.append([f"`{source}`{mark}", *_cells(figures, left_out)])
    lines.append([f"**{cell}**" for cell in ("overall", *_cells(stored["overall"], left_out))])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _cells(figures, left_out):
    cells = [f"{figures['rows_used']:,}" if figures["rows_used"] else ""]
    cells += [_percent(figures[name]) for name in ("median_abs_error", "p90_abs_error", "mean_abs_error")]
    cells.append("" if figures["spearman"] is None else f"{figures['spearman']:.2f}")
    cells += [_percent(figures["mean_regret"]), _percent(figures["memory_median_abs_error"])]
    cells.append(_pair(figures["baseline"]))
    if left_out:
        cells.append(_pair(figures["left_out"]))
    return cells


def _pair(figures):
    if figures["median_abs_error"] is None:
        return ""
    return f"{_percent(figures['median_abs_error'])}, {_percent(figures['p90_abs_error'])}"


def _percent(value):
    return "" if value is None else f"{100 * value:.1f} %"


def with_table(text):
    """A page with its table as it should be."""
    assert _BEGIN in text, f"no line {_BEGIN!r}"
    assert _END in text, f"no line {_END!r}"
    return re.sub(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", f"{_BEGIN}\n\n{table()}\n\n{_END}", text, flags=re.DOTALL)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")
