"""Files are whole or not there, and CSV reads back exactly."""

import csv
import io
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from walltime.durable import atomic_bytes, atomic_text
from walltime.problems import BadInput
from walltime.report.files import csv_text, staged


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    assert atomic_text(tmp_path / "a.txt", "é\r\n") == tmp_path / "a.txt"
    assert (tmp_path / "a.txt").read_bytes() == "é\r\n".encode()
    atomic_bytes(tmp_path / "a.txt", b"new")
    assert files_in(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == b"new"


def test_a_failed_write_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atomic_text(tmp_path / "a.txt", "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadInput, match=r"a\.txt.*No space left"):
        atomic_text(tmp_path / "a.txt", "new")
    assert files_in(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_staged_files_arrive_at_the_end(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with staged(out) as staging:
        (staging / "sub").mkdir()
        atomic_text(staging / "sub" / "a.txt", "a")
        assert not (out / "sub").exists()
    assert files_in(out) == ["sub", "sub/a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_nothing_behind(tmp_path: Path, error: type[BaseException]) -> None:
    def write() -> None:
        with staged(tmp_path / "new" / "out") as staging:
            atomic_text(staging / "a.txt", "a")
            raise error

    with pytest.raises(error):
        write()
    assert files_in(tmp_path) == []


def test_an_exception_leaves_what_was_there(tmp_path: Path) -> None:
    atomic_text(tmp_path / "a.txt", "old")

    def write() -> None:
        with staged(tmp_path) as staging:
            atomic_text(staging / "a.txt", "new")
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        write()
    assert files_in(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_kill_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    code = (
        "import signal, sys, time\nfrom pathlib import Path\nfrom walltime.durable import atomic_text\n"
        "from walltime.report.files import staged\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which a shell's background jobs ignore
        "with staged(Path(sys.argv[1])) as staging:\n"
        "    atomic_text(staging / 'a.txt', 'a')\n    print('ready', flush=True)\n    time.sleep(60)\n"
    )
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(out)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        assert files_in(out) != []
        time.sleep(0.1)
        process.send_signal(number)
        code_of_exit = process.wait(30)
    assert code_of_exit in (143, 130, -signal.SIGINT)
    assert files_in(tmp_path) == []


def test_a_place_that_cannot_be_written_is_a_bad_input(tmp_path: Path) -> None:
    atomic_text(tmp_path / "file", "")
    with pytest.raises(BadInput, match="cannot write"), staged(tmp_path / "file" / "out"):
        pass
    assert files_in(tmp_path) == ["file"]


def test_columns_are_those_of_all_rows() -> None:
    assert csv_text([{"a": 1}, {"b": 'x, "y"', "a": True}]) == 'a,b\n1,\ntrue,"x, ""y"""\n'
    assert csv_text([]) == ""


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, np.float64("nan"), np.float32("inf")])
def test_what_is_not_a_number_is_an_empty_cell(value: object) -> None:
    assert csv_text([{"a": 1.5, "b": value, "c": 2}]) == "a,b,c\n1.5,,2\n"


@pytest.mark.parametrize(("value", "text"), [(np.int64(3), "3"), (np.float64(0.1), "0.1"), (2**70, str(2**70))])
def test_numbers_of_numpy_and_large_ones(value: object, text: str) -> None:
    assert csv_text([{"a": value}]) == f"a\n{text}\n"


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_floats_read_back_to_the_same_number(values: list[float]) -> None:
    rows = csv.DictReader(io.StringIO(csv_text([{"a": value} for value in values])))
    assert [float(row["a"]) for row in rows] == values
