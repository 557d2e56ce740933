"""The GPU or the cores that a process measures, among the others of its node."""

import os
from types import SimpleNamespace

import pytest

from walltime.cli.measuring.shared import check_devices
from walltime.measure import devices
from walltime.measure.devices import device
from walltime.measure.ranks import Place
from walltime.problems import MissingExtra

SRUN = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2"}
TORCHRUN = {"RANK": "0", "WORLD_SIZE": "2"}


@pytest.fixture
def seen(monkeypatch):
    """Stand in for PyTorch on a node, of which a process sees some GPUs and is kept to some cores."""
    for name in (*SRUN, *TORCHRUN, "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    current = []

    def see(num_gpus=0, cores=(0, 1), launchers=None, environment=TORCHRUN):
        cuda = SimpleNamespace(
            device_count=lambda: num_gpus, set_device=current.append, get_device_name=lambda index: f"GPU {index}"
        )
        torch = SimpleNamespace(cuda=cuda, set_num_threads=current.append, __version__="2.0")
        monkeypatch.setattr(devices, "torch_module", lambda: torch)
        monkeypatch.setattr("walltime.cli.measuring.shared.torch_module", lambda: torch)
        monkeypatch.setattr(
            os, "sched_getaffinity", lambda pid: set((launchers or cores) if pid else cores), raising=False
        )
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return current

    return see


@pytest.mark.parametrize(
    ("num_gpus", "local_rank", "environment", "index"),
    [(8, 3, TORCHRUN, 3), (4, 3, SRUN, 3), (1, 3, SRUN, 0), (1, 0, SRUN, 0)],
)
def test_each_process_has_a_gpu(seen, num_gpus, local_rank, environment, index):
    current = seen(num_gpus, environment=environment)
    for kind in (None, "cuda"):
        assert device(Place(local_rank, 4, local_rank, 4), kind).torch_name == f"cuda:{index}"
    assert current == [index, index]


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
@pytest.mark.parametrize(("num_gpus", "environment"), [(1, TORCHRUN), (2, TORCHRUN), (2, SRUN)])
def test_some_gpus_but_fewer_than_processes_are_refused_in_all_of_them(seen, rank, num_gpus, environment):
    seen(num_gpus, environment=environment)
    for kind in (None, "cuda"):
        with pytest.raises(MissingExtra, match=f"sees {num_gpus} GPUs for 4 processes"):
            device(Place(rank, 4, rank, 4), kind)
    assert device(Place(rank, 4, rank, 4), "cpu").kind == "cpu"


def test_processes_to_be_started_are_of_the_kind_that_is_visible(seen):
    seen(2)
    assert check_devices(None, 2, "measure gemm") == "cuda"
    assert check_devices("cpu", 4, "measure gemm") == "cpu"
    with pytest.raises(MissingExtra, match="--nproc 4: PyTorch sees 2 GPUs"):
        check_devices(None, 4, "measure gemm")
    seen(0)
    assert check_devices(None, 4, "measure gemm") == "cpu"


EIGHT = tuple(range(8))


@pytest.mark.parametrize(
    ("cores", "launchers", "environment", "share", "num_threads"),
    [
        ((0, 1), (0, 1), TORCHRUN, "1 core", 1),  # two ranks that are kept to two cores together
        ((0,), (0,), TORCHRUN, "0.5 cores", 1),
        (EIGHT, EIGHT, TORCHRUN, "4 cores", 4),
        ((0,), EIGHT, TORCHRUN, "1 core", 1),  # each to one of its own
        (EIGHT[4:], EIGHT, TORCHRUN, "4 cores", 4),
        (EIGHT[:6], EIGHT, TORCHRUN, "4 cores", 4),  # overlapping
        ((3,), EIGHT, {**SRUN, "SLURM_CPUS_ON_NODE": "2"}, "1 core", 1),
        ((2, 3), (0,), {**SRUN, "SLURM_CPUS_ON_NODE": "4"}, "2 cores", 2),
        ((2, 3), EIGHT, {**SRUN, "SLURM_CPUS_ON_NODE": "2"}, "1 core", 1),  # --cpu-bind=none
        ((2, 3), EIGHT, SRUN, "1 core", 1),
    ],
)
def test_cores_are_divided_where_processes_share_them(seen, cores, launchers, environment, share, num_threads):
    threads = seen(0, cores, launchers, environment)
    found = device(Place(1, 2, 1, 2))
    assert found.name.endswith(f", {share}")
    assert (found.kind, found.num_threads, threads) == ("cpu", num_threads, [num_threads])


def test_a_process_alone_has_the_cores_that_it_is_kept_to(seen):
    seen(0, (5,), EIGHT, {})
    assert device(Place()).name.endswith(", 1 core")
