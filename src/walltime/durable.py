"""Files that are whole or not there, and still there after the power fails."""

import json
import os
import secrets
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


def atomic_bytes(path: Path, data: bytes) -> Path:
    """Write a whole file or nothing: to a temporary file in the same folder, to the disk, then moved over ``path``.

    Raises
    ------
    BadInput
        The file cannot be written there.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def atomic_text(path: Path, text: str) -> Path:
    """Write a whole UTF-8 file or nothing, line ends as they are."""
    return atomic_bytes(path, text.encode())


def atomic_json(path: Path, content: Any) -> Path:
    """Write a whole JSON document or nothing."""
    return atomic_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def append_bytes(path: Path, data: bytes) -> None:
    """Add to the end of a file, to the disk.

    Raises
    ------
    BadInput
        It cannot be written; a part of it may be there, as after a crash.
    """
    try:
        with path.open("ab", buffering=0) as file:
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> BadInput:
    """Return the line that says so."""
    return BadInput(f"cannot write {str(path)!r}: {error.strerror or error}. Valid: a folder that can be written to.")
