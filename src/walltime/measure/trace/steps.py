"""Where the steps of a trace begin and end."""

import numpy as np

from walltime.measure.trace.events import Trace
from walltime.measure.trace.names import Role

Window = tuple[int, int]
"""Begin and end of a step. [ns]"""
_NOTABLE = 0.01
"""Share of a step from which on a note says that kernels run beyond it."""


def device_windows(trace: Trace, device: int) -> tuple[list[Window], list[str]]:
    """Return the steps of an accelerator, and what to mind about them.

    A step lasts from its first kernel to the first of the next step, the last one to its own last kernel: as the
    profiler projects ``ProfilerStep#N`` onto streams. A trace without these projections is cut where the steps begin on
    the host, which runs ahead: by as much in each step, so that lengths are right and what lies in them is a little
    late. Without any mark, all of the trace is one step.
    """
    kernels = trace.of(Role.KERNEL, Role.COLLECTIVE) & (trace.device == device)
    first, last = int(trace.begin_ns[kernels].min()), int(trace.end_ns[kernels].max())
    marked = _marked(trace, trace.of(Role.DEVICE_STEP) & (trace.device == device))
    if marked:
        return _adjoining(marked, marked[-1][1]), []
    marked = _marked(trace, trace.of(Role.STEP))
    if not marked:
        return [(first, last)], [_unmarked()]
    end = max(marked[-1][1], last)
    beyond = end - marked[-1][1]
    late = beyond > _NOTABLE * (end - marked[-1][0])
    said = f"kernels run on for {beyond / 1e6:.3g} ms after the last step ended on the host: the step ends with them"
    return _adjoining(marked, end), [said] if late else []


def host_windows(trace: Trace) -> tuple[list[Window], list[str]]:
    """Return the steps of a process that computes by itself, and what to mind: as ``ProfilerStep#N`` marks them."""
    marked = _marked(trace, trace.of(Role.STEP))
    if marked:
        return marked, []
    events = trace.of(Role.OPERATOR, Role.CALL, Role.BACKGROUND)
    return [(int(trace.begin_ns[events].min()), int(trace.end_ns[events].max()))], [_unmarked()]


def _unmarked() -> str:
    return "no ProfilerStep annotations: all of the trace counts as one step"


def _marked(trace: Trace, marks: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> list[Window]:
    """Return the steps that annotations mark, in order; those of one number on several streams are one."""
    found: dict[int, Window] = {}
    columns = (trace.label[marks], trace.begin_ns[marks], trace.end_ns[marks])
    for label, begin, end in zip(*(column.tolist() for column in columns), strict=True):
        earlier = found.get(label, (begin, end))
        found[label] = (min(earlier[0], begin), max(earlier[1], end))
    return sorted(window for window in found.values() if window[1] > window[0])


def _adjoining(marked: list[Window], end: int) -> list[Window]:
    """Return steps that each end where the next begins."""
    begins = [begin for begin, _ in marked]
    return list(zip(begins, [*begins[1:], end], strict=True))
