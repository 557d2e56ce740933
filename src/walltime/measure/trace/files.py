"""The files of traces that a path names: itself, or those in a folder."""

from collections.abc import Iterable
from pathlib import Path

from walltime.problems import BadInput

_ENDINGS = (".json", ".json.gz")


def trace_files(paths: Iterable[Path]) -> list[Path]:
    """Return files as they are, and for a folder the traces in it by name; each once.

    Raises
    ------
    BadInput
        A folder without any.
    """
    found: list[Path] = []
    for path in paths:
        inside = sorted(each for each in path.iterdir() if each.name.endswith(_ENDINGS)) if path.is_dir() else [path]
        if not inside:
            raise BadInput(f"no traces in the folder {str(path)!r}. Valid: files that end in {' or '.join(_ENDINGS)}.")
        found += inside
    return list(dict.fromkeys(found))
