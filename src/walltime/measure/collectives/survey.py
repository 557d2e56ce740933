"""A measurement of collectives from its beginning to its end: what to measure, what is known already, and the rows."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from walltime.measure.collective_rows import (
    COLLECTIVES,
    CollectiveRow,
    collective_rows_file,
    read_collective_rows,
)
from walltime.measure.collectives.groups import chosen, shapes
from walltime.measure.collectives.operations import WORD_BYTES, sizes
from walltime.measure.collectives.run import Ladder, ladders, library, measure, settings
from walltime.measure.devices import Device
from walltime.measure.environment import environment
from walltime.measure.kept import kept
from walltime.measure.ranks import Place, process_group
from walltime.measure.requirements import torch_module
from walltime.measure.together import Together
from walltime.problems import BadInput, unknown

LEAST_BYTES = 512
MOST_BYTES = {"cuda": 2**34, "cpu": 2**28}
"""Largest message unless told otherwise: on GPUs that of the paper, on CPUs what gloo still moves in seconds. [B]"""
USUAL_DTYPE = {"cuda": "bf16", "cpu": "fp32"}
BUDGET_S = {"cuda": 900.0, "cpu": 180.0}
"""Time of all ladders together: some seconds for each on a node of eight. [s]"""


@dataclass(frozen=True)
class CollectiveRequest:
    """Collectives to measure.

    Attributes
    ----------
    collectives
        Of `walltime.measure.collective_rows.COLLECTIVES`.
    groups
        Of `walltime.measure.collectives.groups.GROUP_NAMES`; all that the processes form unless given.
    least_bytes, most_bytes, factor
        Sizes, each by ``factor`` larger than the one before. [B]
    dtype
        ``bf16``, ``fp16`` or ``fp32``; what training of the device sends unless given.
    budget_s
        For all together; what suits the device unless given. [s]
    seed
        For the record.
    csv
        File that the rows are appended to; points that it has are not measured again.
    command
        The command line, for the record.
    """

    collectives: Sequence[str] = COLLECTIVES
    groups: tuple[str, ...] = ()
    least_bytes: int = LEAST_BYTES
    most_bytes: int | None = None
    factor: float = 2.0
    dtype: str | None = None
    budget_s: float | None = None
    seed: int = 0
    csv: Path | None = None
    command: str = "walltime measure collectives"


@dataclass(frozen=True)
class CollectiveSurvey:
    """What was measured.

    Attributes
    ----------
    rows
        The collectives, in the order in which they were measured.
    num_known, num_left
        Points that the file had already, and points for which the budget or the memory did not do.
    elapsed_s
        Of the measurement. [s]
    environment
        What it ran on and with.
    """

    rows: list[CollectiveRow]
    num_known: int
    num_left: int
    elapsed_s: float
    environment: dict[str, Any] = field(default_factory=dict)


def check_request(request: CollectiveRequest, where: Place) -> None:
    """Refuse what cannot be measured, in every process alike.

    Raises
    ------
    BadInput
        A process is alone, PyTorch has no communication, or sizes, groups or formats are not what they can be.
    """
    if where.num_ranks < 2:
        raise BadInput("collectives need 2 processes or more. Valid: --nproc 4 on this machine, or torchrun or srun.")
    if not torch_module().distributed.is_available():
        raise BadInput("this PyTorch was built without torch.distributed. Valid: a build with it.")
    if request.dtype is not None and request.dtype not in WORD_BYTES:
        raise unknown("precision of collectives", request.dtype, WORD_BYTES)
    if not 1 < request.factor < math.inf:
        raise BadInput(f"factor={request.factor:g} must be more than 1, and finite.")
    if request.most_bytes is not None and request.most_bytes < request.least_bytes:
        raise BadInput(f"the largest size, {request.most_bytes} B, is below the smallest, {request.least_bytes} B.")
    chosen(shapes(where), request.groups)


def survey(
    request: CollectiveRequest, where: Place, device: Device, progress: Callable[[int, int], None] | None = None
) -> CollectiveSurvey:
    """Measure collectives; to be called in every process of the measurement, of which the first writes the file.

    Raises
    ------
    BadInput
        As `check_request`, or a file that cannot be appended to.
    """
    check_request(request, where)
    with process_group(where, device.kind):
        together = Together(where, device)
        manifest = together.the_firsts(environment(device, where, request.seed))
        opened = together.the_first_does(
            partial(kept, request.csv, collective_rows_file, read_collective_rows, manifest)
        )
        keep, known = opened or (None, set())
        known = together.the_firsts(known)
        grid = _grid(request, together, manifest)
        todo = [replace(ladder, points=[row for row in ladder.points if row.point not in known]) for ladder in grid]
        number, wanted = _number(grid), _number(todo)
        started = time.perf_counter()
        rows = []
        for row in measure(
            [ladder for ladder in todo if ladder.points], together, request.budget_s or BUDGET_S[device.kind]
        ):
            if keep is not None:
                keep([row])
            rows.append(row)
            if progress is not None:
                progress(len(rows), wanted)
        return CollectiveSurvey(rows, number - wanted, wanted - len(rows), time.perf_counter() - started, manifest)


def _number(grid: Sequence[Ladder]) -> int:
    return sum(len(ladder.points) for ladder in grid)


def _grid(request: CollectiveRequest, together: Together, manifest: dict[str, Any]) -> list[Ladder]:
    where, kind = together.where, together.device.kind
    most = request.most_bytes or max(MOST_BYTES[kind], request.least_bytes)
    common = CollectiveRow(
        source_ref=f"{request.command}, PyTorch {manifest['torch']}",
        gpu=together.device.name,
        gpus_per_node=where.num_local_ranks,
        library=library(kind, manifest),
        notes=settings(manifest),
        environment=manifest["id"],
    )
    wanted = sizes(request.least_bytes, most, request.factor)
    dtype = request.dtype or USUAL_DTYPE[kind]
    return ladders(chosen(shapes(where), request.groups), request.collectives, wanted, dtype, common)
