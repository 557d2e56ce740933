"""Write the outputs that pages show, as this build prints them: ``python docs/generate_outputs.py``.

A block of a console after a comment ``output:`` is written whole; ``output 1 3:`` keeps the first and the third
paragraph. Run it after numbers have changed; `tests/docs` runs the commands and compares.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).parents[1]
PAGES = [REPO / "README.md", *sorted((REPO / "docs").glob("*/*.md"))]
BLOCK = re.compile(
    r"(?P<head><!-- output(?P<kept>[ \d]*): .*? -->\n\n```console\n\$ (?P<command>walltime [^\n]*)\n)"
    r".*?(?P<tail>```\n)",
    re.DOTALL,
)
PROGRAM = (sys.executable, "-c", "from walltime.cli import main; main()")


def refreshed(text: str, folder: Path) -> str:
    """The text with the outputs of its commands, run in a folder, as they are now."""

    def rerun(block: re.Match[str]) -> str:
        arguments = shlex.split(block["command"], comments=True)[1:]
        done = subprocess.run(
            [*PROGRAM, *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(REPO / "src")},
            capture_output=True,
            text=True,
            check="# exit" not in block["command"],
        )
        return block["head"] + shortened(done.stdout or done.stderr, block["kept"].split()) + block["tail"]

    return BLOCK.sub(rerun, text)


def shortened(output: str, kept: list[str]) -> str:
    """The paragraphs of an output that are kept, by number; three dots for those between and after."""
    paragraphs = output.rstrip("\n").split("\n\n")
    if not kept:
        return output
    shown: list[str] = []
    for number, paragraph in enumerate(paragraphs, 1):
        if str(number) in kept:
            shown.append(paragraph)
        elif shown[-1:] != ["..."]:
            shown.append("...")
    return "\n\n".join(shown) + "\n"


if __name__ == "__main__":
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        if BLOCK.search(text):
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "tests").symlink_to(REPO / "tests")
                page.write_text(refreshed(text, Path(folder)), encoding="utf-8")
