"""What became of each measured row: used by a fit, or not and why."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from walltime.calibrate.machine.kernels import LEAST_ROWS, KernelFits
from walltime.calibrate.machine.links import crosses_nodes, why_not_usable
from walltime.calibrate.machine.network import NetworkFit
from walltime.calibrate.machine.rows import MachineRows
from walltime.calibrate.machine.tables import MOVING_OPS, attention_kernel
from walltime.measure.kernel_rows import ATTENTION_OPS, LAUNCH, MATMUL_OPS, MEMORY_OPS, OK, OOM, OPS, KernelRow
from walltime.validate.cases import Skipped
from walltime.validate.measured import CORE, MeasuredRow

_NO_TIME, _OUT_OF_MEMORY = "no time", "out of memory"


@dataclass(frozen=True)
class Uses:
    """Rows of one kind.

    Attributes
    ----------
    kind
        ``kernels``, ``collectives`` or ``training``.
    rows
        Read.
    unused
        Rows that no fit of times used, by the reason.
    """

    kind: str
    rows: int
    unused: Mapping[str, int]

    @property
    def used(self) -> int:
        """Rows that a fit used."""
        return self.rows - sum(self.unused.values())


def uses_of(
    rows: MachineRows, kernels: KernelFits, network: NetworkFit, skipped: Sequence[Skipped], *, has_power: bool
) -> tuple[Uses, ...]:
    """Return what became of the rows, kind by kind.

    Parameters
    ----------
    rows
        Read.
    kernels, network
        What was fitted to them.
    skipped
        Training rows that are no case.
    has_power
        Whether power was fitted, for which the time of a launch counts.
    """
    is_cpu = not rows.based_on
    of_kernels = (_why_not(row, kernels, is_cpu=is_cpu, has_power=has_power) for row in rows.kernels)
    of_collectives = (
        why_not_usable(row) or (_beyond(network) if crosses_nodes(row, network.network.domain) else "")
        for row in rows.collectives
    )
    of_training = [*map(_why_not_trained, rows.training), *(each.reason for each in skipped)]
    found = (
        Uses("kernels", len(rows.kernels), _counted(of_kernels)),
        Uses("collectives", len(rows.collectives), _counted(of_collectives)),
        Uses("training", len(rows.training), _counted(of_training)),
    )
    return tuple(each for each in found if each.rows)


def _counted(reasons: Iterable[str]) -> dict[str, int]:
    return dict(Counter(reason for reason in reasons if reason).most_common())


def _why_not(row: KernelRow, fits: KernelFits, *, is_cpu: bool, has_power: bool) -> str:
    """Return why no fit used a kernel, empty if one did."""
    if row.status not in ("", OK):
        return _OUT_OF_MEMORY if row.status == OOM else f"status {row.status}"
    if not row.time_s and not (row.op in MATMUL_OPS and (row.tflops or 0) > 0):
        return _NO_TIME
    if row.op in MATMUL_OPS:
        return _why_no_matmul(row, fits)
    if row.op in ATTENTION_OPS:
        return _why_no_attention(row, fits)
    if row.op in MEMORY_OPS:
        return _why_no_memory(row, fits, is_cpu=is_cpu)
    if row.op not in OPS:
        return f"op {row.op!r} is not known"
    return "" if is_cpu or has_power else f"{LAUNCH}: latencies are those of the fitted kernels"


def _why_no_matmul(row: KernelRow, fits: KernelFits) -> str:
    if min(row.m or 0, row.n or 0, row.k or 0) <= 0:
        return "matmuls without m, n and k"
    if row.dtype not in fits.matmul:
        return f"matmuls in {row.dtype or 'no format'}: fewer than {LEAST_ROWS}, or no known format"
    return ""


def _why_no_attention(row: KernelRow, fits: KernelFits) -> str:
    kernel = attention_kernel(row)
    if kernel is None:
        return f"attention by {row.backend}: a kernel that the catalog does not have"
    taken = fits.attention_format.get(kernel)
    if taken is None:
        return f"attention in {row.dtype or 'no format'}: matmuls in it were not measured"
    return "" if row.dtype == taken else f"attention in {row.dtype or 'no format'}: fitted in {taken}"


def _why_no_memory(row: KernelRow, fits: KernelFits, *, is_cpu: bool) -> str:
    if is_cpu and row.op not in MOVING_OPS:
        return f"{row.op}: a processor computes for longer than it moves"
    if (row.num_bytes or 0) <= 0:
        return f"{row.op} without num_bytes"
    too_small = (row.num_bytes or 0) < (fits.memory_least_bytes or 0)
    return "copies, additions and norms that a cache may hold" if too_small else ""


def _beyond(network: NetworkFit) -> str:
    return "collectives across nodes: the network has one level" if len(network.levels) == 1 else ""


def _why_not_trained(row: MeasuredRow) -> str:
    """Return why a training row was not tried as a case, empty if it was."""
    if row.scope != CORE:
        return f"scope {row.scope}"
    return _OUT_OF_MEMORY if row.status == OOM else ""
