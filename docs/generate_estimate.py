"""Write the estimate that README.md shows, as this build prints it: ``python docs/generate_estimate.py``.

Run it after numbers were fitted anew; `tests/docs` runs the command and compares.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
BLOCK = re.compile(r"(<!-- estimate: .*? -->\n\n```console\n\$ (walltime [^\n]*)\n).*?(```\n)", re.DOTALL)
PROGRAM = (sys.executable, "-c", "from walltime.cli import main; main()")


def refreshed(text: str) -> str:
    """The text with the output of its command as it is now."""

    def rerun(block: re.Match[str]) -> str:
        arguments = shlex.split(block[2])[1:]
        done = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, check=True)
        return f"{block[1]}{done.stdout}{block[3]}"

    return BLOCK.sub(rerun, text)


if __name__ == "__main__":
    README.write_text(refreshed(README.read_text(encoding="utf-8")), encoding="utf-8")
