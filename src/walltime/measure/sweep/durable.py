"""Files that are whole or not there, and still there after the power fails."""

import json
import os
from pathlib import Path
from typing import Any

from walltime.problems import BadInput


def make_folder(folder: Path) -> None:
    """Make a folder with its parents, on the disk.

    Raises
    ------
    BadInput
        It cannot be made there.
    """
    try:
        new = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for each in new:
            sync_folder(each.parent)
    except OSError as error:
        raise cannot_write(folder, error) from error


def sync_folder(folder: Path) -> None:
    """Have the disk know what a folder holds."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside its place, to the disk, and move it there.

    Raises
    ------
    BadInput
        It cannot be written.
    """
    temporary = path.with_name(f".{path.name}.partial")  # one writer a folder, by its lock
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def write_json(path: Path, content: Any) -> None:
    """Write a JSON document as `write_whole` does."""
    write_whole(path, (json.dumps(content, indent=1) + "\n").encode())


def append_line(path: Path, line: bytes) -> None:
    """Add a line at the end of a file, to the disk.

    Raises
    ------
    BadInput
        It cannot be written; a part of it may be there, as after a crash.
    """
    try:
        with path.open("ab", buffering=0) as file:
            rest = memoryview(line)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> BadInput:
    """Return the line that says so."""
    return BadInput(f"cannot write {str(path)!r}: {error.strerror or error}.")
