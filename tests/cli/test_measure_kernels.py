"""``walltime measure gemm`` and ``walltime measure collectives`` as a user runs them."""

import json
import subprocess
import sys

import pytest

from walltime.measure import devices
from walltime.measure.collective_rows import COLLECTIVE_COLUMNS, read_collective_rows
from walltime.measure.kernel_rows import KERNEL_COLUMNS, read_kernel_rows

BAD = {
    "gemm --precision fp9": "unknown precision 'fp9'",
    "gemm --precision fp8": "precision 'fp8': ",
    "gemm --nproc 2 --precision fp8": "precision 'fp8': ",
    "gemm --budget 0s": "budget=0s must be a positive",
    "gemm --budget soon": "budget='soon' is not a quantity",
    "gemm --budget 10": "budget='10' has no unit",
    "gemm --what cooking": "'cooking' is not one of",
    "gemm --max-size 0": "--max-size",
    "gemm --nproc 0": "--nproc",
    "gemm --csv no/rows.csv": "there is no folder 'no'",
    "gemm --csv .": "is a folder",
    "gemm --csv other.csv": "other.csv: has other columns",
    "gemm --nproc 2 --csv other.csv": "other.csv: has other columns",
    "collectives": "collectives need 2 processes or more",
    "collectives --nproc 2 --csv other.csv": "other.csv: has other columns",
    "collectives --nproc 2 --precision fp8": "unknown precision of collectives 'fp8'",
    "collectives --nproc 2 --factor 1": "factor=1 must be more than 1",
    "collectives --nproc 2 --factor nan": "factor=nan must be more than 1",
    "collectives --nproc 2 --factor inf": "factor=inf must be more than 1, and finite",
    "collectives --nproc x": "'x' is not a valid whole number",
    "collectives --nproc 2 --max-size 10": "max-size='10' has no unit",
    "collectives --nproc 2 --max-size 10B": "below the smallest",
    "collectives --nproc 2 --group across": "unknown group of these processes 'across'",
    "collectives --nproc 2 --group rack": "'rack' is not one of",
    "collectives --what broadcast": "'broadcast' is not one of",
}


@pytest.mark.parametrize("command", BAD)
def test_bad_input_is_one_line_before_anything_is_measured(call, file, command):
    pytest.importorskip("torch")
    file("other.csv", "model_name,gpu\na,b\n")
    assert BAD[command] in call("measure", *command.split()).refused()


@pytest.mark.parametrize("command", ["gemm", "collectives"])
def test_more_processes_than_cores_have_room_for_are_not_started(call, command, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(devices, "num_cores_here", lambda: 2)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("started"))
    said = call("measure", command, "--nproc", "512", "--device", "cpu").refused(4)
    assert "512 processes are too many for the 2 cores of this machine. Valid: at most 16 here" in said
    assert f"srun --ntasks 512 python -m walltime measure {command}" in said


@pytest.mark.parametrize("command", ["gemm", "gemm --nproc 2", "collectives --nproc 2"])
def test_a_gpu_that_is_not_there_is_said(call, command):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert "GPU" in call("measure", *command.split(), "--device", "cuda").refused(4)


@pytest.mark.parametrize("command", ["gemm --quick", "gemm --nproc 2", "collectives --nproc 2", "collectives"])
def test_without_pytorch_one_line_says_what_to_install(call, monkeypatch, command):
    monkeypatch.setitem(sys.modules, "torch", None)
    expected = "pip install 'walltime[measure]'" if command != "collectives" else "2 processes"
    assert expected in call("measure", *command.split()).refused(4 if command != "collectives" else 2)


def test_several_processes_under_a_launcher_are_refused(call, monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert "under a launcher (RANK is set)" in call("measure", "gemm", "--nproc", "2").refused()


def test_a_grid_without_points_is_a_negative_answer(call):
    pytest.importorskip("torch")
    said = call("measure", "gemm", "--what", "gemm", "--max-size", "1", "--device", "cpu")
    assert said.code == 3
    assert "no kernel could be measured" in said.err


def test_kernels_of_one_process(walltime, tmp_path):
    pytest.importorskip("torch")
    command = "measure gemm --quick --max-size 300 --precision fp32 --device cpu --budget 2s --csv kernels.csv"
    text = walltime(*command.split())
    assert text.code == 0, text.err
    assert "power       not measured" in text.out
    assert text.out.endswith("next: walltime calibrate kernels.csv --name my-machine\n")
    rows = read_kernel_rows(tmp_path / "kernels.csv")
    assert (tmp_path / "kernels.csv").read_text(encoding="utf-8").splitlines()[0] == ",".join(KERNEL_COLUMNS)
    environments = json.loads((tmp_path / "environments.json").read_text(encoding="utf-8"))
    assert {row.environment for row in rows} == set(environments)
    (manifest,) = environments.values()
    assert manifest["command"].startswith("walltime measure gemm --quick")


def test_two_processes_measure_the_same_kernels_at_once(walltime, tmp_path):
    pytest.importorskip("torch")
    command = "measure gemm --quick --what gemm --max-size 300 --precision fp32 --device cpu --nproc 2 --budget 1s"
    said = walltime(*command.split(), "--csv", "kernels.csv", "--json")
    assert said.code == 0, said.err
    document = said.json()
    assert document["environment"]["num_ranks"] == 2
    assert document["num_measured"] == len(document["rows"]) == len(read_kernel_rows(tmp_path / "kernels.csv")) > 0
    assert {row["num_ranks"] for row in document["rows"]} == {2}
    assert {row["op"] for row in document["rows"]} == {"gemm"}


def test_two_processes_measure_collectives(walltime, tmp_path):
    pytest.importorskip("torch")
    command = "measure collectives --nproc 2 --what all_reduce --what sendrecv --max-size 2kB --factor 4 --budget 1s"
    said = walltime(*command.split(), "--csv", "collectives.csv")
    assert said.code == 0, said.err
    assert "whole: 2 ranks" in said.out
    assert said.out.endswith("next: walltime calibrate kernels.csv collectives.csv --name my-cluster\n")
    rows = read_collective_rows(tmp_path / "collectives.csv")
    assert {row.collective for row in rows} == {"all_reduce", "sendrecv"}
    assert (tmp_path / "collectives.csv").read_text(encoding="utf-8").splitlines()[0] == ",".join(COLLECTIVE_COLUMNS)


def test_what_went_wrong_in_a_process_is_said_in_one_line(monkeypatch, call, tmp_path):
    """A process that ends by itself: its own words, or the error that PyTorch's launcher shows."""
    pytest.importorskip("torch")
    from walltime.cli.measuring import shared

    program = [
        sys.executable,
        "-c",
        "import sys; print('walltime: the network is wrong.', file=sys.stderr); sys.exit(3)",
    ]
    monkeypatch.setattr(shared, "launch_command", lambda number, arguments: program)
    assert call("measure", "gemm", "--nproc", "2", "--device", "cpu").refused(3) == "the network is wrong."
    program = [sys.executable, "-c", "raise RuntimeError('oh')"]
    monkeypatch.setattr(shared, "launch_command", lambda number, arguments: program)
    assert "RuntimeError: oh" in call("measure", "gemm", "--nproc", "2", "--device", "cpu").refused(1)


def test_help_needs_no_pytorch(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in ("gemm", "collectives"):
        said = call("measure", name, "--help")
        assert said.code == 0
        assert f"walltime measure {name} " in said.out
