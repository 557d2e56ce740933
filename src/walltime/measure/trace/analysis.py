r"""Where the time of a step goes, from its trace: computation, exposed communication, and idle time (spec 2.0).

All are lengths of unions of intervals:

.. math::

    t_\mathrm{comp} &= \Bigl|\bigcup \mathrm{kernels}\Bigr| &(1) \\
    t_\mathrm{exposed} &= \Bigl|\bigcup \mathrm{collectives} \setminus \bigcup \mathrm{kernels}\Bigr| &(2) \\
    t_\mathrm{step} &= t_\mathrm{comp} + t_\mathrm{exposed} + t_\mathrm{idle} &(3)

On an accelerator kernels are all that run on any stream and do not communicate, copies and fills included; collectives
are the kernels of NCCL and its kin, and copies between accelerators. What waits in a collective for a slower rank is
communication: no trace of one rank tells the two apart.

On a CPU there are no kernels. A thread computes while the innermost of its nested events is an operator, which leaves
out the frames around operators (autograd's nodes, FSDP's hooks, Python). Collectives are the spans that gloo notes on
its own threads, the calls that start them, and ``wait_tensor``, the wait for one.

Approximations
--------------
On a CPU, what the host does between operators while a collective runs in the background counts as exposed, since a
trace does not tell it from waiting: exposed communication is an upper bound. gloo carries out reduce-scatters as
all-reduces; where a program calls no all-reduce they are shown as what was called.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from walltime.measure.records import StepParts
from walltime.measure.trace.events import Trace, read_trace
from walltime.measure.trace.intervals import NONE, Spans, joined, length_ns, union, within, without
from walltime.measure.trace.names import KINDS, WAIT, Role
from walltime.measure.trace.steps import Window, device_windows, host_windows
from walltime.measure.trace.threads import host_pieces
from walltime.problems import BadInput

_NS_PER_S = 1e9
_DEVICE_BACKENDS = ("nccl", "rccl", "xccl", "hccl")


@dataclass(frozen=True)
class RankTrace:
    """What the trace of one process, or of one of its accelerators, shows.

    Attributes
    ----------
    path
        The file.
    rank
        Of the process, where the trace says so.
    device
        Of the accelerator, where a file holds several; None else.
    on_accelerator
        Whether kernels were looked at, or the operators of a CPU.
    steps
        Each step.
    notes
        What to mind, a line each.
    """

    path: Path
    rank: int | None
    device: int | None
    on_accelerator: bool
    steps: tuple[StepParts, ...]
    notes: tuple[str, ...] = ()

    @property
    def mean(self) -> StepParts:
        """The mean step."""
        return mean_parts(self.steps)


@dataclass(frozen=True)
class _Busy:
    """When something computes, and when something communicates: by kind, and by group of ranks."""

    compute: Spans
    kinds: Mapping[str, Spans]
    groups: Mapping[str, Spans]


def step_parts(path: Path) -> StepParts:
    """Return the mean step of a trace of one process.

    Raises
    ------
    BadInput
        The file is no trace, or holds kernels of several accelerators.
    """
    found = rank_traces(path)
    if len(found) > 1:
        raise BadInput(f"{path}: kernels of {len(found)} accelerators. Valid: one process, one accelerator.")
    return found[0].mean


def rank_traces(path: Path) -> list[RankTrace]:
    """Return what a trace shows, for each accelerator that it has kernels of; once if it has none.

    Raises
    ------
    BadInput
        The file is no trace, or there is nothing in it that computes.
    """
    trace = read_trace(path)
    on_device = trace.of(Role.KERNEL, Role.COLLECTIVE)
    devices = np.unique(trace.device[on_device]).tolist()
    if not devices:
        return [_host_trace(trace)]
    alone = len(devices) == 1
    return [_device_trace(trace, device, None if alone else place) for place, device in enumerate(devices)]


def _device_trace(trace: Trace, device: int, place: int | None) -> RankTrace:
    here = trace.device == device
    compute = _union(trace, here & trace.of(Role.KERNEL))
    collectives = here & trace.of(Role.COLLECTIVE)
    kinds = {name: _union(trace, collectives & (trace.kind == kind)) for kind, name in enumerate(KINDS)}
    groups = {name: _union(trace, collectives & (trace.group == group)) for group, name in enumerate(trace.groups)}
    windows, notes = device_windows(trace, device)
    return _rank_trace(trace, _Busy(compute, kinds, groups), windows, [*trace.notes, *notes], place, on_device=True)


def _host_trace(trace: Trace) -> RankTrace:
    _check_host(trace)
    begin, end, owner = host_pieces(trace)
    role, kind = trace.role[owner], trace.kind[owner]
    compute = union(begin[role == Role.OPERATOR], end[role == Role.OPERATOR])
    in_background = trace.of(Role.BACKGROUND)
    ran = _called_kind(trace)
    kinds = {}
    for number, name in enumerate(KINDS):
        called = (role == Role.CALL) & (kind == number)
        kinds[name] = joined(union(begin[called], end[called]), _union(trace, in_background & (ran == number)))
    named = joined(*(spans for name, spans in kinds.items() if name != KINDS[WAIT]))
    kinds[KINDS[WAIT]] = without(kinds[KINDS[WAIT]], named)
    windows, notes = host_windows(trace)
    return _rank_trace(trace, _Busy(compute, kinds, {}), windows, [*trace.notes, *notes], None, on_device=False)


def _check_host(trace: Trace) -> None:
    """Refuse a trace in which nothing that computes can be seen."""
    if trace.has(Role.LAUNCH) or trace.backend in _DEVICE_BACKENDS:
        why = "the host's side of a run on accelerators, and none of their kernels"
        raise BadInput(f"{trace.path}: {why}. Valid: recorded with ProfilerActivity.CUDA among its activities.")
    if not trace.has(Role.OPERATOR):
        raise BadInput(f"{trace.path}: no kernels and no operators. Valid: a trace of torch.profiler of some steps.")


def _called_kind(trace: Trace) -> NDArray[np.int8]:
    """Return the kind of each event, where gloo runs another kind than was called: as it was called."""
    all_reduce, reduce_scatter = KINDS.index("all_reduce"), KINDS.index("reduce_scatter")
    called = set(trace.kind[trace.of(Role.CALL)].tolist())
    if reduce_scatter not in called or all_reduce in called:
        return trace.kind
    return np.where(trace.kind == all_reduce, reduce_scatter, trace.kind).astype(np.int8)


def _union(trace: Trace, which: NDArray[np.bool_]) -> Spans:
    return union(trace.begin_ns[which], trace.end_ns[which])


def _rank_trace(
    trace: Trace, busy: _Busy, windows: Sequence[Window], notes: Sequence[str], device: int | None, *, on_device: bool
) -> RankTrace:
    steps = tuple(_parts(busy, window) for window in windows)
    return RankTrace(trace.path, trace.rank, device, on_device, steps, tuple(notes))


def _parts(busy: _Busy, window: Window) -> StepParts:
    """Return the parts of one step; the step is their sum."""
    compute = within(busy.compute, *window)
    kinds = {name: within(spans, *window) for name, spans in busy.kinds.items() if len(spans)}
    groups = {name: within(spans, *window) for name, spans in busy.groups.items()}
    communication = joined(NONE, *kinds.values())
    exposed_ns = length_ns(without(communication, compute))
    idle_ns = window[1] - window[0] - length_ns(compute) - exposed_ns
    compute_s, exposed_s, idle_s = length_ns(compute) / _NS_PER_S, exposed_ns / _NS_PER_S, idle_ns / _NS_PER_S
    return StepParts(
        step_s=compute_s + exposed_s + idle_s,
        compute_s=compute_s,
        communication_s=length_ns(communication) / _NS_PER_S,
        exposed_communication_s=exposed_s,
        idle_s=idle_s,
        communication_by_kind_s={name: length_ns(spans) / _NS_PER_S for name, spans in kinds.items()},
        exposed_by_kind_s={name: length_ns(without(spans, compute)) / _NS_PER_S for name, spans in kinds.items()},
        exposed_by_group_s={name: length_ns(without(spans, compute)) / _NS_PER_S for name, spans in groups.items()},
    )


def mean_parts(steps: Sequence[StepParts]) -> StepParts:
    """Return the mean of steps, or of ranks; ``num_steps`` adds up, and the step is again the sum of its parts."""
    count = len(steps)

    def mean(name: str) -> float:
        return sum(getattr(step, name) for step in steps) / count

    def means(name: str) -> dict[str, float]:
        names = dict.fromkeys(key for step in steps for key in getattr(step, name))
        return {key: sum(getattr(step, name).get(key, 0.0) for step in steps) / count for key in names}

    compute_s, exposed_s, idle_s = mean("compute_s"), mean("exposed_communication_s"), mean("idle_s")
    return StepParts(
        step_s=compute_s + exposed_s + idle_s,
        compute_s=compute_s,
        communication_s=mean("communication_s"),
        exposed_communication_s=exposed_s,
        idle_s=idle_s,
        communication_by_kind_s=means("communication_by_kind_s"),
        exposed_by_kind_s=means("exposed_by_kind_s"),
        exposed_by_group_s=means("exposed_by_group_s"),
        num_steps=sum(step.num_steps for step in steps),
    )
