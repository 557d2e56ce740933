"""The device that a process measures: a GPU, or a share of the host's cores."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from walltime.measure.ranks import Place
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
    """Return the device of a process and make it the current one: a GPU where there is one, unless told otherwise.

    Raises
    ------
    MissingExtra
        PyTorch, or the GPU that was asked for, is not there.
    """
    torch = torch_module()
    if kind == "cuda" and torch.cuda.device_count() <= where.local_rank:
        raise MissingExtra(
            f"no GPU for local rank {where.local_rank}: PyTorch {torch.__version__} sees {torch.cuda.device_count()}."
        )
    if kind == "cuda" or (kind is None and torch.cuda.device_count() > where.local_rank):
        torch.cuda.set_device(where.local_rank)
        return Device("cuda", where.local_rank, torch.cuda.get_device_name(where.local_rank))
    threads = max(1, num_cores_here() // where.num_local_ranks)
    torch.set_num_threads(threads)
    return Device("cpu", 0, device_name("cpu", where.num_local_ranks), threads)


def device_name(kind: DeviceKind, num_local_ranks: int) -> str:
    """Return what the device of each of several processes of this machine calls itself."""
    if kind == "cuda":
        return str(torch_module().cuda.get_device_name(0))
    share = num_cores_here() / num_local_ranks
    return f"{_processor_name()}, {share:g} core{'s' if share != 1 else ''}"


def num_cores_here() -> int:
    """Return the cores of this machine that a process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
