"""Collectives: which groups there are, that the operations are what they are called, and what is measured of them."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
import types
from pathlib import Path

import pytest

pytest.importorskip("torch")

import walltime
from walltime.measure.collective_rows import COLLECTIVES, NOT_FOR_FITS, CollectiveRow, read_collective_rows
from walltime.measure.collectives import run, survey
from walltime.measure.collectives.groups import Shape, chosen, shapes
from walltime.measure.collectives.operations import Ring, actual_bytes, buffer_bytes, sizes
from walltime.measure.collectives.survey import CollectiveRequest, check_request
from walltime.measure.devices import Device
from walltime.measure.ranks import Place
from walltime.measure.together import Together
from walltime.problems import BadInput, Problem

PAIR = Place(0, 2, 0, 2)
CPU = Device("cpu", 0, "a CPU, 1 core")


def partition(shape, number):
    groups = {tuple(shape.ranks(rank)) for rank in range(number)}
    assert sorted(rank for group in groups for rank in group) == list(range(number))
    assert len(groups) == shape.num_groups
    assert all(len(group) == shape.num_ranks for group in groups)
    return sorted(groups)


def test_groups_of_two_nodes_of_four():
    found = {(shape.name, shape.num_ranks): shape for shape in shapes(Place(0, 8, 0, 4))}
    assert list(found) == [("whole", 8), ("inside a node", 4), ("across nodes", 2), ("part of a node", 2)]
    assert partition(found["whole", 8], 8) == [tuple(range(8))]
    assert partition(found["inside a node", 4], 8) == [(0, 1, 2, 3), (4, 5, 6, 7)]
    assert partition(found["across nodes", 2], 8) == [(0, 4), (1, 5), (2, 6), (3, 7)]
    assert partition(found["part of a node", 2], 8) == [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert found["across nodes", 2].num_nodes == 2
    assert found["inside a node", 4].num_nodes == 1


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (Place(0, 2, 0, 2), [("whole", 2)]),
        (Place(0, 8, 0, 8), [("whole", 8), ("part of a node", 2), ("part of a node", 4)]),
        (Place(0, 6, 0, 6), [("whole", 6), ("part of a node", 2)]),
        (Place(0, 4, 0, 1), [("whole", 4)]),
        (Place(0, 7, 0, 4), [("whole", 7)]),  # nodes of unequal size
    ],
)
def test_groups_are_those_that_the_processes_form(where, expected):
    assert [(shape.name, shape.num_ranks) for shape in shapes(where)] == expected
    for shape in shapes(where):
        partition(shape, where.num_ranks)


def test_groups_by_name():
    found = shapes(Place(0, 8, 0, 4))
    assert [shape.name for shape in chosen(found, ("across", "whole"))] == ["whole", "across nodes"]
    with pytest.raises(BadInput, match=r"unknown group of these processes 'node'.*Valid: whole\."):
        chosen(shapes(PAIR), ("node",))


def test_sizes_and_buffers_follow_nccl_tests():
    assert sizes(512, 2**34, 2)[-1] == 2**34
    assert len(sizes(512, 2**34, 2)) == 26
    assert sizes(512, 1000, 4) == [512]
    assert actual_bytes("all_reduce", 512, 3, "fp32") == 512
    assert actual_bytes("all_gather", 512, 3, "fp32") == 504  # three equal parts of whole numbers
    assert actual_bytes("alltoall", 2, 4, "bf16") == 8
    assert buffer_bytes("all_reduce", 512, 4) == 512
    assert buffer_bytes("reduce_scatter", 512, 4) == 640
    assert buffer_bytes("sendrecv", 512, 4) == 1024


@pytest.mark.parametrize(
    ("wrong", "where", "why"),
    [
        ({}, Place(), "2 processes or more"),
        ({"dtype": "fp8"}, PAIR, "unknown precision of collectives 'fp8'"),
        ({"factor": 1.0}, PAIR, "factor=1 must be more than 1"),
        ({"most_bytes": 100}, PAIR, "below the smallest"),
        ({"groups": ("across",)}, PAIR, "unknown group"),
    ],
)
def test_what_cannot_be_measured_is_refused(wrong, where, why):
    with pytest.raises(BadInput, match=why):
        check_request(CollectiveRequest(**wrong), where)


def alone(**changes):
    return dataclasses.replace(CollectiveRow(collective="all_reduce", n_gpus=1, size_bytes=64, dtype="fp32"), **changes)


RING = Ring(None, [0], 0)
TOGETHER = Together(Place(), CPU)


def fake_operation(monkeypatch, right=True, error=None, error_of_run=None):
    def made(*request):
        if error:
            raise error
        nothing = lambda: None  # noqa: E731

        def first():
            if error_of_run:
                raise error_of_run

        return types.SimpleNamespace(run=first, fill=nothing, clear=nothing, is_right=lambda: right)

    monkeypatch.setattr(run, "operation", made)


def test_a_time_is_the_mean_of_many_calls(monkeypatch):
    fake_operation(monkeypatch)
    times = iter([1e-3, 2e-3, 3e-3, 4e-3])
    monkeypatch.setattr(run, "_timed", lambda made, calls, together: next(times))
    row = run._measured(alone(n_gpus=4), RING, TOGETHER, 0.3)
    assert row.latency_us == pytest.approx(3000)
    assert (row.min_us, row.max_us) == pytest.approx((2000, 4000))
    assert row.iterations == 100
    assert row.busbw_gb_per_s == pytest.approx(1.5 * row.algbw_gb_per_s) == pytest.approx(1.5 * 64 / 3e-3 / 1e9)


def test_a_wrong_result_has_no_time(monkeypatch):
    fake_operation(monkeypatch, right=False)
    ladder = run.Ladder(Shape("whole", 1, 1, 1, 1), [alone()])
    rows = list(run._climbed(ladder, RING, TOGETHER, 1.0))
    assert [row.status for row in rows] == ["wrong"]
    assert rows[0].time_s is None
    assert NOT_FOR_FITS in rows[0].notes


def test_sizes_are_spread_before_the_gaps_are_filled(monkeypatch):
    points = [alone(size_bytes=2**power) for power in range(9)]
    order = [row.size_bytes for row in run.spread(points)]
    assert order == [1, 16, 256, 8, 128, 4, 64, 2, 32]
    for number in range(6):
        assert sorted(run.spread(points[:number]), key=lambda row: row.size_bytes) == points[:number]


def test_nothing_larger_than_what_did_not_fit_is_tried(monkeypatch):
    fake_operation(monkeypatch)
    monkeypatch.setattr(run, "host_memory_bytes", lambda key: 2 * 64)
    ladder = run.Ladder(Shape("whole", 1, 1, 1, 1), [alone(size_bytes=2**power) for power in range(9)])
    rows = list(run._climbed(ladder, RING, TOGETHER, 1e6))
    assert {row.size_bytes for row in rows if row.status == "ok"} == {1, 2, 4, 8, 16, 32}
    assert {row.size_bytes for row in rows if row.status == "oom"} == {64, 128, 256}


def test_running_out_of_memory_is_a_result(monkeypatch):
    fake_operation(monkeypatch, error=MemoryError())
    row = run._measured(alone(), RING, TOGETHER, 1.0)
    assert (row.status, row.time_s) == ("oom", None)
    fake_operation(monkeypatch)
    monkeypatch.setattr(run, "host_memory_bytes", lambda key: 100)
    row = run._measured(alone(), RING, TOGETHER, 1.0)
    assert row.status == "oom"
    assert "100 B available" in row.notes


@pytest.mark.parametrize("size_bytes", [64, 2**26])
def test_memory_that_does_not_do_in_the_first_call_is_a_result(monkeypatch, size_bytes):
    fake_operation(monkeypatch, error_of_run=RuntimeError("NCCL error: Cuda failure 2 'out of memory'"))
    row = run._measured(alone(size_bytes=size_bytes), RING, TOGETHER, 1.0)
    assert (row.status, row.time_s) == ("oom", None)
    assert "NCCL error" in row.notes
    fake_operation(monkeypatch, error_of_run=RuntimeError("connection reset"))
    with pytest.raises(RuntimeError, match="connection reset"):
        run._measured(alone(), RING, TOGETHER, 1.0)


def test_libraries_and_their_settings_are_recorded():
    nccl = {
        "torch": "2.13.0",
        "nccl": "2.29.2",
        "rocm": None,
        "variables": {"NCCL_ALGO": "Ring", "OMP_NUM_THREADS": "1"},
    }
    assert run.library("cuda", nccl) == "NCCL 2.29.2 (PyTorch 2.13.0)"
    assert run.library("cuda", nccl | {"rocm": "6.2"}) == "RCCL 2.29.2 (PyTorch 2.13.0)"
    assert run.library("cpu", nccl) == "gloo (PyTorch 2.13.0)"
    assert run.settings(nccl) == "NCCL_ALGO=Ring"


def test_a_problem_of_the_first_process_is_everybodys():
    def refuse():
        raise BadInput("no")

    with pytest.raises(Problem, match="no"):
        TOGETHER.the_first_does(refuse)
    assert TOGETHER.the_first_does(lambda: 3) == 3


def test_any_error_of_the_first_process_is_told_to_the_others(monkeypatch):
    """The first one raises it itself; the others, who could not rebuild it, a line that says so."""
    told = []

    def fail():
        raise OSError(28, "No space left on device")

    def broadcast(box, src):
        told.append(box[0])
        box[:] = told[:1]

    monkeypatch.setattr(run.torch_module().distributed, "broadcast_object_list", broadcast)
    with pytest.raises(OSError, match="No space left"):
        Together(PAIR, CPU).the_first_does(fail)
    with pytest.raises(Problem, match=r"the first process ended with OSError.*No space left"):
        Together(dataclasses.replace(PAIR, rank=1, local_rank=1), CPU).the_first_does(fail)


_RANK = """
import json, sys
from walltime.measure.collectives.survey import CollectiveRequest, survey
from walltime.measure.devices import device
from walltime.measure.ranks import place
from pathlib import Path
from walltime.measure.collectives import run
run._MOST_POINT_S = 0.02
where = place()
request = CollectiveRequest(least_bytes=500, most_bytes=4096, factor=8, budget_s=60.0, csv=Path(sys.argv[1]))
found = survey(request, where, device(where, "cpu"))
again = survey(request, where, device(where, "cpu"))
print(json.dumps([len(found.rows), len(again.rows), again.num_known, found.num_left]))
"""


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory):
    """Four processes that are told to be on two nodes; what the first one says, and its rows."""
    path = tmp_path_factory.mktemp("collectives") / "collectives.csv"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = []
    for rank in range(4):
        told = {"RANK": rank, "WORLD_SIZE": 4, "LOCAL_RANK": rank % 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
        environment = os.environ | {name: str(value) for name, value in told.items()}
        environment |= {"MASTER_ADDR": "127.0.0.1", "PYTHONPATH": str(Path(walltime.__file__).parents[1])}
        command = [sys.executable, "-W", "error", "-c", _RANK, str(path)]
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    return [json.loads(line) for line in said], read_collective_rows(path)


def test_four_processes_measure_every_collective_in_every_group(two_nodes):
    _, rows = two_nodes
    groups = {(row.group, row.n_gpus, row.n_nodes, row.gpus_per_node, row.concurrent_groups) for row in rows}
    assert groups == {("whole", 4, 2, 2, 1), ("inside a node", 2, 1, 2, 2), ("across nodes", 2, 2, 2, 2)}
    assert {(row.group, row.collective) for row in rows} == {(g, c) for g, *_ in groups for c in COLLECTIVES}
    for row in rows:
        assert row.status == "ok"  # its result was checked
        assert row.time_s > 0
        assert row.min_us <= row.latency_us <= row.max_us
        assert row.size_bytes % 4 == 0
        assert row.library.startswith("gloo")
        assert row.in_place == (row.collective == "all_reduce")


def test_all_processes_saw_the_same_and_nothing_is_measured_again(two_nodes):
    said, rows = two_nodes
    assert said == [[len(rows), 0, len(rows), 0]] * 4
    assert len({row.point for row in rows}) == len(rows) == 3 * 5 * 2
    assert survey.LEAST_BYTES == 512
