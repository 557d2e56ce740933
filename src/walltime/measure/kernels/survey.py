"""A measurement of kernels from its beginning to its end: what to measure, what is known already, and the rows."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from walltime.measure.devices import Device
from walltime.measure.environment import environment
from walltime.measure.kept import kept
from walltime.measure.kernel_rows import KernelRow, kernel_rows_file, read_kernel_rows
from walltime.measure.kernels.grid import KINDS, points, sizes
from walltime.measure.kernels.run import Session, asked, measure, supported
from walltime.measure.ranks import Place, process_group
from walltime.measure.together import Together
from walltime.problems import BadInput, unknown

BUDGET_S = {"cuda": 2400.0, "cpu": 180.0}
"""Time of a whole grid: on a GPU two seconds for each point, mostly for its power, on a CPU a third of one. [s]"""
QUICK_BUDGET_S = {"cuda": 300.0, "cpu": 60.0}
"""The same of a few points of each kind. [s]"""
_PRECISIONS = ("bf16", "fp16", "fp32", "fp8")


@dataclass(frozen=True)
class KernelRequest:
    """Kernels to measure.

    Attributes
    ----------
    kinds
        Of `walltime.measure.kernels.grid.KINDS`.
    precisions
        Number formats; all that the device has unless given.
    is_quick
        A few of each only.
    max_size
        The largest m, n, k or length of a sequence.
    budget_s
        For all together; what suits the device unless given. [s]
    seed
        Of the numbers, and of the order of points.
    csv
        File that the rows are appended to; points that it has are not measured again.
    command
        The command line, for the record.
    """

    kinds: Sequence[str] = KINDS
    precisions: Sequence[str] = ()
    is_quick: bool = False
    max_size: int | None = None
    budget_s: float | None = None
    seed: int = 0
    csv: Path | None = None
    command: str = "walltime measure gemm"


@dataclass(frozen=True)
class KernelSurvey:
    """What was measured.

    Attributes
    ----------
    rows
        The kernels, in the order in which they were measured.
    num_known, num_left
        Points that the file had already, and points for which the budget did not do.
    elapsed_s
        Of the measurement. [s]
    environment
        What it ran on and with.
    """

    rows: list[KernelRow]
    num_known: int
    num_left: int
    elapsed_s: float
    environment: dict[str, Any] = field(default_factory=dict)


def check_precisions(chosen: Sequence[str], device: Device) -> list[str]:
    """Return the number formats to measure in.

    Raises
    ------
    BadInput
        One is unknown, or the device does not multiply in it.
    """
    have = supported(device)
    for name in chosen:
        if name not in _PRECISIONS:
            raise unknown("precision", name, _PRECISIONS)
        if name not in have:
            raise BadInput(f"precision {name!r}: {device.name} does not multiply in it. Valid: {', '.join(have)}.")
    return list(dict.fromkeys(chosen)) or have


def survey(
    request: KernelRequest, where: Place, device: Device, progress: Callable[[int, int], None] | None = None
) -> KernelSurvey:
    """Measure kernels; to be called in every process of the measurement, of which the first writes the file.

    Raises
    ------
    BadInput
        An unknown precision, or a file that cannot be appended to.
    """
    precisions = check_precisions(request.precisions, device)
    with process_group(where, device.kind):
        together = Together(where, device)
        manifest = together.the_firsts(environment(device, where, request.seed))
        budget_s = request.budget_s or (QUICK_BUDGET_S if request.is_quick else BUDGET_S)[device.kind]
        session = Session(together, manifest["id"], request.command, budget_s, seed=request.seed)
        chosen = sizes(device.kind, quick=request.is_quick)
        grid = [
            asked(point, session) for point in points(chosen, request.kinds, precisions, request.max_size, request.seed)
        ]
        opened = together.the_first_does(partial(kept, request.csv, kernel_rows_file, read_kernel_rows, manifest))
        keep, known = opened or (None, set())
        known = together.the_firsts(known)
        todo = [point for point in grid if point.point not in known]
        started = time.perf_counter()
        rows = []
        for row in measure(todo, session):
            if keep is not None:
                keep([row])
            rows.append(row)
            if progress is not None:
                progress(len(rows), len(todo))
        return KernelSurvey(rows, len(grid) - len(todo), len(todo) - len(rows), time.perf_counter() - started, manifest)
