"""Training steps of any model under any plan that PyTorch runs by itself, on random tokens.

Everything but this module, `checks` and `stages` needs PyTorch and is imported when something runs.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from walltime.measure.requirements import torch_module

if TYPE_CHECKING:
    from walltime.measure.devices import DeviceKind
    from walltime.measure.records import TrainRequest, TrainResult


def run(
    request: "TrainRequest",
    *,
    device_kind: "DeviceKind | None" = None,
    traces: Path | None = None,
    memory_limit_bytes: float | None = None,
    on_out_of_memory: "Callable[[TrainResult], None] | None" = None,
    prepare: "Callable[[], None] | None" = None,
) -> "TrainResult":
    """Train for some steps and return what they took; called in every rank of the plan, all of which return the same.

    Parameters
    ----------
    request
        What to run.
    device_kind
        ``cuda`` or ``cpu``; a GPU where there is one by default.
    traces
        Folder for the traces of the profiled steps, ``rank0.json.gz`` and so on; by default none is kept.
    memory_limit_bytes
        Most that a process may hold, of the GPU's memory or the host's. [B]
    on_out_of_memory
        Called in the first rank with the result if another rank ran out of memory. This rank's processes then end, with
        exit code 0: they stand in a collective that will never finish.
    prepare
        Called in the first rank before anything runs; if it raises, all ranks do.

    Raises
    ------
    BadInput
        The plan is not one that PyTorch runs, or not one of as many processes.
    MissingExtra
        PyTorch, or the GPU, is not there.
    """
    torch_module()
    from walltime.measure.training.session import session

    return session(request, device_kind, traces, memory_limit_bytes, on_out_of_memory, prepare)
