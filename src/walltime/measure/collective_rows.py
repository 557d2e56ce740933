"""Measured collectives as rows of a CSV file, with sizes and bandwidths as nccl-tests define them.

The first sixteen columns are those of published ones (`walltime.calibrate.collectives.measured_rows` reads them). A row
whose notes say so (`NOT_FOR_FITS`) has no time: memory did not do, or the result was wrong.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from walltime.measure.row_files import appended_to, columns, read_rows

SOURCE = "walltime"
ALL_REDUCE, ALL_GATHER, REDUCE_SCATTER = "all_reduce", "all_gather", "reduce_scatter"
ALL_TO_ALL, SEND_RECV = "alltoall", "sendrecv"
COLLECTIVES = (ALL_REDUCE, ALL_GATHER, REDUCE_SCATTER, ALL_TO_ALL, SEND_RECV)
OK, OOM, WRONG = "ok", "oom", "wrong"
NOT_FOR_FITS = "exclude from calibration"


@dataclass(frozen=True)
class CollectiveRow:
    """One collective that was measured; None or empty: does not apply, or was not measured.

    Attributes
    ----------
    source_id, source_ref
        ``walltime`` and the command.
    gpu
        The device, as `walltime.measure.devices.Device.name`.
    collective
        One of `COLLECTIVES`; in ``sendrecv`` each rank sends to the next one and receives from the one before.
    n_gpus, n_nodes, gpus_per_node
        Ranks of the group, nodes that they are on, and ranks of each node of the whole.
    intranode, internode
        The network, where somebody said.
    size_bytes
        By the convention of nccl-tests: the whole buffer, of an all-gather its result, of a reduce-scatter its input.
        [B]
    dtype
        Of the numbers.
    latency_us
        Mean of many calls one after another, of the slowest rank. [us]
    algbw_gb_per_s, busbw_gb_per_s
        10^9 bytes of ``size_bytes`` in a second, and that by the factor of nccl-tests (columns ``algbw_GBps``,
        ``busbw_GBps``).
    library
        What moved the data, with its version.
    notes
        Settings of the library, and what else there is to know.
    group
        ``whole``, ``inside a node``, ``across nodes`` or ``part of a node``.
    concurrent_groups
        Groups of the same shape that did the same at once: all ranks are in one of them.
    status
        ``ok``; ``oom`` where memory did not do; ``wrong`` if the result was not right.
    iterations
        Calls in each repetition.
    min_us, max_us
        The fastest and the slowest repetition. [us]
    in_place
        Whether the result took the place of the input.
    date, environment
        As in `walltime.measure.kernel_rows.KernelRow`.
    """

    source_id: str = SOURCE
    source_ref: str = ""
    gpu: str = ""
    collective: str = ""
    n_gpus: int | None = None
    n_nodes: int | None = None
    gpus_per_node: int | None = None
    intranode: str = ""
    internode: str = ""
    size_bytes: int | None = None
    dtype: str = ""
    latency_us: float | None = None
    algbw_gb_per_s: float | None = field(default=None, metadata={"column": "algbw_GBps"})
    busbw_gb_per_s: float | None = field(default=None, metadata={"column": "busbw_GBps"})
    library: str = ""
    notes: str = ""
    group: str = ""
    concurrent_groups: int | None = None
    status: str = OK
    iterations: int | None = None
    min_us: float | None = None
    max_us: float | None = None
    in_place: bool | None = None
    date: str = ""
    environment: str = ""

    @property
    def time_s(self) -> float | None:
        """Mean time of one call [s], None where it was not measured."""
        return None if self.latency_us is None else self.latency_us / 1e6

    @property
    def point(self) -> tuple[Any, ...]:
        """What was asked for: two rows with the same are of the same collective, group and environment."""
        return tuple(getattr(self, name) for name in _ASKED)


_ASKED = (
    *("gpu", "collective", "n_gpus", "n_nodes", "gpus_per_node", "size_bytes", "dtype", "group", "environment"),
    "concurrent_groups",
)
COLLECTIVE_COLUMNS = columns(CollectiveRow)
"""The columns, in the order of the file."""
_REQUIRED = ("gpu", "collective", "n_gpus", "n_nodes", "size_bytes", "latency_us")


def bus_factor(collective: str, num_ranks: int) -> float:
    """Return bus over algorithm bandwidth, so that the best is the same whatever the number of ranks.

    References
    ----------
    NVIDIA, nccl-tests, doc/PERFORMANCE.md.

    Examples
    --------
    >>> bus_factor("all_reduce", 4)
    1.5
    """
    if collective == SEND_RECV:
        return 1.0
    return (2 if collective == ALL_REDUCE else 1) * (num_ranks - 1) / num_ranks


def read_collective_rows(path: Path) -> list[CollectiveRow]:
    """Read measured collectives.

    Raises
    ------
    BadInput
        It is not such a file; the message names line, column and value.
    """
    return read_rows(path, CollectiveRow, _REQUIRED, "measured collectives", "latency_us")


def collective_rows_file(path: Path) -> Callable[[Iterable[CollectiveRow]], None]:
    """Return a function that appends measured collectives to a file, each on the disk before the function returns.

    Raises
    ------
    BadInput
        There is something else in the file, or it cannot be written.
    """
    return appended_to(path, CollectiveRow)
