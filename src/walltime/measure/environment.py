"""What something was measured on and with: hardware, versions, settings. No names of hosts or users, no serial numbers.

The manifest of a measurement stands once in ``environments.json`` beside its rows, which name it by its id.
"""

import contextlib
import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from walltime import __version__
from walltime.durable import atomic_json
from walltime.measure.devices import Device, host_memory_bytes, processor
from walltime.measure.nvml import Gpu, gpu_of
from walltime.measure.ranks import Place
from walltime.measure.requirements import torch_module
from walltime.problems import BadInput

FILE = "environments.json"
_PREFIXES = (
    *("NCCL_", "RCCL_", "GLOO_", "UCX_", "FI_", "TORCH_", "TORCHINDUCTOR_", "PYTORCH_", "CUDA_", "CUBLAS", "CUDNN_"),
    *("NVIDIA_TF32", "HIP_", "HSA_", "ROCBLAS_", "HIPBLASLT_", "OMP_", "KMP_", "MKL_", "DNNL_", "ONEDNN_", "MALLOC_"),
)
"""Variables that change how long something takes."""
_DROPPED = "VISIBLE_DEVICES"
"""Which of a node's devices a process has is its launcher's business."""
_PRIVATE = ("HOST", "ADDR", "PATH", "TOKEN", "UUID", "HOME", "ROOT")
_PRIVATE_ENDS = ("_DIR", "_FILE", "_ID", "_KEY", "_LOG", "_IFNAME")
"""Names whose values may name a machine or a person, or be others at each start."""
_HIDDEN = "(set)"
_OF_THE_MOMENT = ("date", "command", "seed", "clock_mhz", "memory_clock_mhz", "temperature_c")
"""What two runs of the same measurement on the same machine may differ in."""


def environment(device: Device, where: Place, seed: int, command: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the manifest of a measurement: None for whatever is not there or was not told.

    Parameters
    ----------
    device, where
        What this process measures, and its place among the others.
    seed
        Of whatever is random.
    command
        The command line, without the program; that of this process unless given.

    Returns
    -------
    dict
        JSON values; ``id`` is a hash of all that stays the same from one run to the next.
    """
    manifest = {
        **_run(device, where, seed, command),
        **_versions(device),
        **_host(),
        **_accelerator(device),
        "variables": variables(os.environ),
    }
    lasting = {key: value for key, value in manifest.items() if key not in _OF_THE_MOMENT}
    digest = hashlib.sha256(json.dumps(lasting, sort_keys=True).encode()).hexdigest()
    return {"id": digest[:12], **manifest}


def _run(device: Device, where: Place, seed: int, command: Sequence[str] | None) -> dict[str, Any]:
    return {
        "date": now(),
        "command": command_line(sys.argv[1:] if command is None else command),
        "seed": seed,
        "device": device.name,
        "device_kind": device.kind,
        "num_threads": device.num_threads if device.kind == "cpu" else None,
        "num_ranks": where.num_ranks,
        "num_nodes": where.num_nodes,
        "ranks_per_node": where.num_local_ranks,
    }


def command_line(arguments: Sequence[str]) -> str:
    """Return a command of walltime as a shell takes it, files without their folders, which are named for people."""
    return shlex.join(["walltime", *map(_without_folders, arguments)])


def _without_folders(argument: str) -> str:
    flag, equals, value = argument.rpartition("=") if argument.startswith("-") else ("", "", argument)
    return flag + equals + (PurePath(value).name if os.sep in value else value)


def now() -> str:
    """Return the date and time in UTC, ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _versions(device: Device) -> dict[str, Any]:
    torch = torch_module()
    return {
        "walltime": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "rocm": torch.version.hip,
        "cudnn": torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None,
        "nccl": _nccl_version(torch) if device.kind == "cuda" else None,
        "triton": _installed("triton"),
        "system": f"{platform.system()} {_release()}",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
    }


def _release() -> str:
    """Return the release of the system's kernel without what its builder added, which may name a provider."""
    found = re.match(r"[\d.]+", platform.release())
    return found[0] if found else ""


def _nccl_version(torch: Any) -> str | None:
    with contextlib.suppress(Exception):  # built without it
        return ".".join(map(str, torch.cuda.nccl.version()))
    return None


def _installed(package: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


def _host() -> dict[str, Any]:
    found = processor()
    return {
        "processor": found.name,
        "processor_cores": found.num_cores,
        "processor_threads": found.num_threads,
        "processor_cache_bytes": found.cache_bytes,
        "host_memory_bytes": host_memory_bytes(),
    }


def _accelerator(device: Device) -> dict[str, Any]:
    """What PyTorch and NVML say of a GPU; the same keys, all None, for a CPU."""
    gpu = gpu_of(device)
    told: dict[str, Any] = dict.fromkeys(_GPU)
    if device.kind == "cuda":
        told |= _by_torch(device)
    return told | ({} if gpu is None else _by_nvml(gpu))


_GPU = (
    *("gpu_memory_bytes", "gpu_cores", "gpu_cache_bytes", "compute_capability", "driver", "clock_mhz"),
    *("memory_clock_mhz", "max_clock_mhz", "max_memory_clock_mhz", "power_limit_w", "default_power_limit_w"),
    *("temperature_c", "ecc", "persistence_mode"),
)


def _by_torch(device: Device) -> dict[str, Any]:
    known = torch_module().cuda.get_device_properties(device.index)
    return {
        "gpu_memory_bytes": known.total_memory,
        "gpu_cores": known.multi_processor_count,
        "gpu_cache_bytes": getattr(known, "L2_cache_size", None),
        "compute_capability": f"{known.major}.{known.minor}",
    }


def _by_nvml(gpu: Gpu) -> dict[str, Any]:
    ecc = gpu.ask("nvmlDeviceGetEccMode")
    persistence = gpu.ask("nvmlDeviceGetPersistenceMode")
    limit, default = gpu.ask("nvmlDeviceGetEnforcedPowerLimit"), gpu.ask("nvmlDeviceGetPowerManagementDefaultLimit")
    return {
        "driver": gpu.driver(),
        "clock_mhz": gpu.clock_mhz("SM"),
        "memory_clock_mhz": gpu.clock_mhz("MEM"),
        "max_clock_mhz": gpu.clock_mhz("SM", greatest=True),
        "max_memory_clock_mhz": gpu.clock_mhz("MEM", greatest=True),
        "power_limit_w": None if limit is None else limit / 1e3,
        "default_power_limit_w": None if default is None else default / 1e3,
        "temperature_c": gpu.temperature_c(),
        "ecc": None if ecc is None else bool(ecc[0]),
        "persistence_mode": None if persistence is None else bool(persistence),
    }


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that change how long something takes, in order of name.

    A value that may name a machine, a person or a folder is not kept, only that it was set.
    """
    chosen = {name: environ[name] for name in sorted(environ) if name.startswith(_PREFIXES) and _DROPPED not in name}
    return {name: _HIDDEN if _is_private(name, value) else value for name, value in chosen.items()}


def _is_private(name: str, value: str) -> bool:
    return any(part in name for part in _PRIVATE) or name.endswith(_PRIVATE_ENDS) or "/" in value


def environments_file(rows: Path) -> Path:
    """Return where the manifests of a file of rows stand: ``environments.json`` beside it."""
    return rows.with_name(FILE)


def read_environments(path: Path) -> dict[str, dict[str, Any]]:
    """Return the manifests of a file by id; none where there is no file.

    Raises
    ------
    BadInput
        It is not such a file.
    """
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read {str(path)!r}: {error}.") from None
    if not isinstance(found, dict) or not all(isinstance(value, dict) for value in found.values()):
        raise BadInput(f"{path}: not a file of environments. Valid: one JSON object by id.")
    return found


def keep_environment(path: Path, manifest: Mapping[str, Any]) -> None:
    """Add a manifest to a file, which is whole at every moment; the one that was first with an id stays.

    Raises
    ------
    BadInput
        The file is something else, or cannot be written.
    """
    known = read_environments(path)
    if manifest["id"] in known:
        return
    atomic_json(path, known | {manifest["id"]: dict(manifest)})
