"""The manifest of a measurement: everything that changes a time, and nothing that names a machine or a person."""

import json
import socket

import pytest

pytest.importorskip("torch")

from walltime.measure import environment as manifests
from walltime.measure.devices import Device, device, processor
from walltime.measure.environment import (
    environment,
    environments_file,
    keep_environment,
    read_environments,
    variables,
)
from walltime.measure.ranks import Place
from walltime.problems import BadInput

CPU = Device("cpu", 0, "a CPU, 2 cores", 2)


def test_what_there_is_is_told_and_what_there_is_not_is_none():
    told = environment(device(Place(), "cpu"), Place(), 7, ["measure", "gemm"])
    assert told["command"] == "walltime measure gemm"
    assert told["seed"] == 7
    assert told["torch"]
    assert told["processor_threads"] >= 1
    assert told["num_ranks"] == told["num_nodes"] == 1
    for name in ("power_limit_w", "clock_mhz", "temperature_c", "gpu_memory_bytes", "nccl"):
        assert told[name] is None
    assert json.loads(json.dumps(told)) == told


def test_the_same_again_has_the_same_id_and_anything_else_another():
    first = environment(CPU, Place(), 0, ["measure", "gemm"])
    assert environment(CPU, Place(), 1, ["measure", "collectives"])["id"] == first["id"]
    assert environment(CPU, Place(0, 2, 0, 2), 0)["id"] != first["id"]
    assert environment(Device("cpu", 0, "a CPU, 1 core", 1), Place(), 0)["id"] != first["id"]


def test_settings_change_the_id(monkeypatch):
    before = environment(CPU, Place(), 0)["id"]
    monkeypatch.setenv("NCCL_ALGO", "Ring")
    told = environment(CPU, Place(), 0)
    assert told["variables"]["NCCL_ALGO"] == "Ring"
    assert told["id"] != before


def test_nothing_names_a_machine_or_a_person(monkeypatch):
    monkeypatch.setenv("NCCL_COMM_ID", "node17:4000")
    told = json.dumps(environment(CPU, Place(), 0, ["measure", "gemm", "--csv", "/home/ada/rows.csv"]))
    assert "node17" not in told
    assert "/home/ada" not in told
    assert "rows.csv" in told
    assert socket.gethostname() not in told or len(socket.gethostname()) < 4


def test_variables_whose_values_are_private_are_only_said_to_be_set():
    found = variables(
        {
            "NCCL_PROTO": "LL128",
            "NCCL_IB_HCA": "mlx5_0:1",
            "NCCL_SOCKET_IFNAME": "eth7",
            "NCCL_TOPO_FILE": "/etc/topo.xml",
            "NCCL_GRAPH_DUMP": "/tmp/graph",
            "CUDA_VISIBLE_DEVICES": "GPU-1234",
            "NCCL_HOSTID": "node17",
            "TORCHELASTIC_RUN_ID": "9",
            "OMP_NUM_THREADS": "4",
            "HOME": "/home/ada",
        }
    )
    assert found == {
        "NCCL_GRAPH_DUMP": "(set)",
        "NCCL_HOSTID": "(set)",
        "NCCL_IB_HCA": "mlx5_0:1",
        "NCCL_PROTO": "LL128",
        "NCCL_SOCKET_IFNAME": "(set)",
        "NCCL_TOPO_FILE": "(set)",
        "OMP_NUM_THREADS": "4",
    }


def test_manifests_stand_once_beside_their_rows(tmp_path):
    path = environments_file(tmp_path / "kernels.csv")
    keep_environment(path, {"id": "a", "date": "1"})
    keep_environment(path, {"id": "b", "date": "2"})
    keep_environment(path, {"id": "a", "date": "3"})
    assert read_environments(path) == {"a": {"id": "a", "date": "1"}, "b": {"id": "b", "date": "2"}}
    assert [entry.name for entry in tmp_path.iterdir()] == [manifests.FILE]


@pytest.mark.parametrize("text", ["no JSON", "[1]", '{"a": 1}'])
def test_a_file_of_something_else_is_refused(tmp_path, text):
    path = tmp_path / manifests.FILE
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=r"environments\.json"):
        keep_environment(path, {"id": "a"})


def test_the_processor_is_described_as_far_as_the_system_does():
    found = processor()
    assert found.name
    assert found.num_threads >= 1
    assert found.cache_bytes is None or found.cache_bytes > 2**10
