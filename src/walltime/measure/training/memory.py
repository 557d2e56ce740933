"""Memory of a rank: what its tensors take by kind, what the device's allocator held, and limits on it."""

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from walltime.measure.devices import Device
from walltime.measure.training.trainer import Trainer

_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_FORGET_PEAK = "5"  # proc(5): resets the peak resident set size
_KIBI = 1024
_ENOUGH_FOR_ALL = 2**20
"""Numbers that PyTorch shares out among its threads."""


def resident_bytes() -> float | None:
    """Return what this process has in the host's memory now; None where the system does not tell. [B]"""
    return _status_bytes("VmRSS")


def reset_peak(device: Device) -> None:
    """Forget what was held until now."""
    if device.kind == "cuda":
        torch.cuda.reset_peak_memory_stats(device.index)
        return
    with suppress(OSError):
        _FORGET.write_text(_FORGET_PEAK)


def memory_bytes(trainer: Trainer, device: Device, before_bytes: float | None = None) -> dict[str, float]:
    """Return what this rank held by kind, after a step whose gradients are still there. [B]

    ``weights``, ``gradients`` and ``optimizer`` are of its tensors; ``allocated`` and ``reserved`` the most of
    PyTorch's allocator on a GPU; on a CPU, ``resident`` is the most of the whole process, and ``grown`` what that is
    more than before there was a model.

    Parameters
    ----------
    trainer, device
        What is trained, and on what.
    before_bytes
        What the process held before there was a model. [B]
    """
    parameters = [parameter for part in trainer.parts for parameter in part.parameters()]
    states = [value for state in trainer.optimizer.state.values() for value in state.values()]
    held = {
        "weights": _size(parameters),
        "gradients": _size(parameter.grad for parameter in parameters),
        "optimizer": _size(states),
    }
    return held | _peak(device, before_bytes)


def _size(tensors: Iterable[Any]) -> float:
    local = [t.to_local() if hasattr(t, "to_local") else t for t in tensors if isinstance(t, torch.Tensor)]
    return float(sum(tensor.numel() * tensor.element_size() for tensor in local))


def _peak(device: Device, before_bytes: float | None) -> dict[str, float]:
    if device.kind == "cuda":
        return {
            "allocated": float(torch.cuda.max_memory_allocated(device.index)),
            "reserved": float(torch.cuda.max_memory_reserved(device.index)),
        }
    resident = _peak_resident_bytes()
    if resident is None:
        return {}
    grown = {} if before_bytes is None else {"grown": max(0.0, resident - before_bytes)}
    return {"resident": resident, **grown}


def _peak_resident_bytes() -> float | None:
    if (peak_bytes := _status_bytes("VmHWM")) is not None:
        return peak_bytes
    with suppress(ImportError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return float(peak) * (1 if sys.platform == "darwin" else _KIBI)
    return None


def _status_bytes(name: str) -> float | None:
    """Return what Linux says of this process under a name. [B]"""
    with suppress(OSError):
        found = re.search(rf"{name}:\s*(\d+) kB", _STATUS.read_text(encoding="utf-8"))
        return float(found[1]) * _KIBI if found else None
    return None


@contextmanager
def limited(device: Device, limit_bytes: float | None) -> Iterator[None]:
    """Let this process have no more than so much memory: of the GPU, or private and writable on the host. [B]

    Raises
    ------
    MemoryError
        On a CPU, the process itself has more already.
    """
    if limit_bytes is None:
        yield
        return
    if device.kind == "cuda":
        total = torch.cuda.get_device_properties(device.index).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit_bytes / total), device.index)
        yield
        return
    import resource

    _start_threads()
    own_bytes = _status_bytes("VmData") or 0
    if limit_bytes <= own_bytes:
        raise MemoryError(f"the process itself has {own_bytes / 1e6:.0f} MB before there is a model")
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (int(limit_bytes), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _start_threads() -> None:
    """Have PyTorch's threads started: a runtime that cannot start one later, for want of memory, ends the process."""
    weight = torch.ones(_ENOUGH_FOR_ALL, requires_grad=True)
    (weight * weight).sum().backward()
