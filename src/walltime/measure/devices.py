"""The device that a process measures: a GPU, or a share of the host's cores."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from walltime.measure.ranks import Place, is_slurm_task
from walltime.measure.requirements import torch_module
from walltime.problems import MissingExtra

DeviceKind = Literal["cuda", "cpu"]
DEVICE_KINDS: tuple[DeviceKind, ...] = ("cuda", "cpu")
PROCESSES_PER_CORE = 8
"""Most processes that are started on a core of this machine: more are a slip, or meant for a cluster."""


@dataclass(frozen=True)
class Device:
    """What one process computes on.

    Attributes
    ----------
    kind
        ``cuda`` (ROCm answers to it too) or ``cpu``.
    index
        Of the GPU on its node; 0 for a CPU.
    name
        As the device calls itself; a CPU with the share of its cores that the process has, since two shares of one
        processor are as different as two accelerators.
    num_threads
        Threads of the process, for a CPU.
    """

    kind: DeviceKind
    index: int
    name: str
    num_threads: int = 1

    @property
    def torch_name(self) -> str:
        """As PyTorch calls it."""
        return f"cuda:{self.index}" if self.kind == "cuda" else "cpu"


def device(where: Place, kind: DeviceKind | None = None) -> Device:
    """Return the device of a process and make it the current one: a GPU where any is visible, unless told otherwise.

    Raises
    ------
    MissingExtra
        PyTorch, or the GPU that was asked for, is not there; or there are some GPUs, but not one for each process.
    """
    torch = torch_module()
    num_gpus = torch.cuda.device_count()
    if kind == "cuda" or (kind is None and num_gpus):
        index = _gpu_index(where, num_gpus)
        torch.cuda.set_device(index)
        return Device("cuda", index, torch.cuda.get_device_name(index))
    cores = _share_of_cores(where)
    threads = max(1, int(cores))
    torch.set_num_threads(threads)
    return Device("cpu", 0, _share_name(cores), threads)


def _gpu_index(where: Place, num_gpus: int) -> int:
    """Return which of the visible GPUs is a process's own: that of its local rank, or the only one that Slurm shows it.

    One GPU that all of torchrun's processes see, which have one environment, is no GPU for each.
    """
    if where.local_rank < where.num_local_ranks <= num_gpus:
        return where.local_rank
    if num_gpus == 1 and is_slurm_task():
        return 0
    raise MissingExtra(
        f"PyTorch {torch_module().__version__} sees {num_gpus} GPUs for {where.num_local_ranks} processes of a node. "
        "Valid: one each (srun --gpus-per-task 1, or all visible to all), or --device cpu."
    )


def _share_of_cores(where: Place) -> float:
    """Return the cores that a process has: those it is kept to, or its part of what a node's processes have together.

    Processes that are kept to cores of their own have fewer than their launcher does, and do not share them.
    """
    own = _own_cores()
    return min(len(own), max(len(own), _launchers_cores(own)) / where.num_local_ranks)


def _share_name(cores: float) -> str:
    return f"{_processor_name()}, {cores:g} core{'s' if cores != 1 else ''}"


def _own_cores() -> set[int]:
    return set(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _launchers_cores(own: set[int]) -> int:
    """Return the cores of all processes of a node together: as Slurm says, or those of torchrun, which started them."""
    if is_slurm_task():
        told = os.environ.get("SLURM_CPUS_ON_NODE", "")
        return int(told) if told.isdigit() else 0
    if not hasattr(os, "sched_getaffinity"):
        return 0
    with suppress(OSError):
        return len(own | os.sched_getaffinity(os.getppid()))
    return 0


def device_name(kind: DeviceKind, num_local_ranks: int) -> str:
    """Return what the device of each of several processes of this machine calls itself."""
    if kind == "cuda":
        return str(torch_module().cuda.get_device_name(0))
    return _share_name(num_cores_here() / num_local_ranks)


def num_cores_here() -> int:
    """Return the cores of this machine that a process may use."""
    return len(_own_cores())


def places_here(kind: DeviceKind) -> int:
    """Return the GPUs or the cores of this machine."""
    return int(torch_module().cuda.device_count()) if kind == "cuda" else num_cores_here()


def most_processes(kind: DeviceKind, num_places: int) -> int:
    """Return the most processes that are started on so many GPUs or cores."""
    return num_places if kind == "cuda" else PROCESSES_PER_CORE * num_places


def check_processes(number: int, kind: DeviceKind, command: str) -> None:
    """Refuse to start more processes than this machine has room for.

    Raises
    ------
    MissingExtra
        With the commands that start them on more machines.
    """
    here = places_here(kind)
    most = most_processes(kind, here)
    if number > most:
        there = _places(kind, here)
        raise MissingExtra(
            f"{number} processes are too many for the {there} of this machine. Valid: at most {most} here, or on more "
            f"machines: {started_elsewhere(number, here, command)}."
        )


def _places(kind: DeviceKind, number: int) -> str:
    return f"{number} {'GPU' if kind == 'cuda' else 'core'}{'s' if number != 1 else ''}"


def started_elsewhere(number: int, num_places: int, command: str) -> str:
    """Return the commands that start so many processes on machines such as this one."""
    even = num_places and number % num_places == 0
    nodes = f"--nnodes {number // num_places} --nproc-per-node {num_places}" if even else "--nnodes ..."
    return (
        f"torchrun {nodes} --rdzv-backend c10d --rdzv-endpoint HOST:29500 -m walltime {command} ..., or "
        f"srun --ntasks {number} python -m walltime {command} ..."
    )


class Processor(NamedTuple):
    """The host's processor: its name, cores and threads of the system, and its largest cache [B]."""

    name: str
    num_cores: int | None
    num_threads: int | None
    cache_bytes: int | None


def processor() -> Processor:
    """Return the host's processor as the system describes it."""
    return Processor(_processor_name(), _num_cores(), os.cpu_count(), _cache_bytes())


def _processor_name() -> str:
    """Return the name of the processor as the system prints it."""
    for name in _cpu_information("model name"):
        return name
    import platform

    return platform.processor() or platform.machine() or "CPU"


def _cpu_information(key: str) -> list[str]:
    """Return what Linux says of each thread under a key."""
    information = Path("/proc/cpuinfo")
    if not information.exists():
        return []
    lines = information.read_text(encoding="utf-8").splitlines()
    return [line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key]


def _num_cores() -> int | None:
    cores = set(zip(_cpu_information("physical id"), _cpu_information("core id"), strict=False))
    return len(cores) or None


def _cache_bytes() -> int | None:
    """Return the size of the largest cache that the first thread has a part in. [B]"""
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = path.read_text(encoding="ascii").strip()
        if text[:-1].isdigit() and text[-1:] in _CACHE_UNITS:
            sizes.append(int(text[:-1]) * _CACHE_UNITS[text[-1]])
    return max(sizes, default=None)


_CACHE_UNITS = {"K": 2**10, "M": 2**20}


def host_memory_bytes(key: str = "MemTotal") -> int | None:
    """Return the memory of the host, or what Linux gives under another key (``MemAvailable``). [B]"""
    information = Path("/proc/meminfo")
    if not information.exists():
        return None
    for line in information.read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    return None
