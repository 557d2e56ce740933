"""The device that a process measures: a GPU, or a share of the host's cores."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from walltime.measure.ranks import Place
from walltime.measure.requirements import torch_module
from walltime.problems import MissingExtra

DeviceKind = Literal["cuda", "cpu"]
DEVICE_KINDS: tuple[DeviceKind, ...] = ("cuda", "cpu")


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
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(1, cores // where.num_local_ranks)
    torch.set_num_threads(threads)
    share = cores / where.num_local_ranks
    return Device("cpu", 0, f"{_processor_name()}, {share:g} core{'s' if share != 1 else ''}", threads)


def _processor_name() -> str:
    """Return the name of the processor as the system prints it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    import platform

    return platform.processor() or platform.machine() or "CPU"
