"""Settings shared by every test, and running the command line.

`walltime` runs it as a user does, in a process; `call` calls its entry point, in this one.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

import walltime as package
from walltime.cli import main

settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

os.environ["WALLTIME_CALIBRATIONS"] = str(Path(__file__).parent / "no-calibrations")
"""Whatever machines the user has measured, tests know of none but their own."""
_PROGRAM = [sys.executable, "-W", "error", "-m", "walltime"]
_SOURCE = str(Path(package.__file__).parents[1])
_ENVIRONMENT = os.environ | {
    "COLUMNS": "100",
    "PYTHONPATH": os.pathsep.join(filter(None, [_SOURCE, os.environ.get("PYTHONPATH")])),
}


def _refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


@dataclass(frozen=True)
class Outcome:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    def json(self):
        """Standard output, which must be one JSON document and nothing else."""
        return json.loads(self.out, parse_constant=_refuse)

    def refused(self, code=2):
        """The one line of a refusal: no traceback, nothing on standard output unless it is an answer."""
        assert self.code == code, (self.code, self.out, self.err)
        assert self.err.startswith("walltime: ")
        assert self.err.count("\n") == 1
        assert self.err.endswith("\n")
        assert "Traceback" not in self.err
        if code == 2:
            assert self.out == ""
        return self.err.removeprefix("walltime: ").rstrip("\n")


@pytest.fixture
def walltime(tmp_path):
    """Run a command in a process of its own, in an empty folder."""

    def run(*args):
        done = subprocess.run(
            [*_PROGRAM, *map(str, args)],
            capture_output=True,
            encoding="utf-8",
            cwd=tmp_path,
            env=_ENVIRONMENT,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def reader_that_stops():
    """Run a command whose reader has closed the pipe; return its exit code and errors."""

    def run(*args):
        with subprocess.Popen(
            [*_PROGRAM, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_ENVIRONMENT
        ) as process:
            process.stdout.close()
            errors = process.stderr.read().decode()
        return process.returncode, errors

    return run


@pytest.fixture
def call(monkeypatch, capsys, tmp_path):
    """Call the entry point in this process: as strict, and much quicker for hundreds of inputs."""

    def run(*args):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["walltime", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Outcome(ended.value.code or 0, printed.out, printed.err)

    return run


@pytest.fixture
def file(tmp_path):
    """Write a file and return its path."""

    def write(name, content):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content, encoding="utf-8")
        return path

    return write
