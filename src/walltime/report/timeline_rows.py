"""What is shown of a timeline, in words and in slices of time: the same on a terminal and in a drawing."""

from collections.abc import Sequence

import numpy as np

from walltime.arrays import Floats
from walltime.engines.simulated_step import TimelineEvent
from walltime.engines.timeline import Timeline
from walltime.units import format_count, format_time

KINDS = ("forward", "backward", "weight_gradient", "communication", "optimizer", "overhead", "bubble")
"""What is told apart, in the order of the legend."""
LABELS = {
    "forward": "forward",
    "backward": "backward",
    "weight_gradient": "weight gradients",
    "communication": "waiting for communication",
    "optimizer": "optimizer",
    "overhead": "overhead",
    "bubble": "bubble",
}
_SHOWN_AS = {"input_gradient": "backward", "receive": "communication", "exchange": "communication"}


def shown_as(event: TimelineEvent) -> str:
    """Return which of `KINDS` an event is shown as."""
    return _SHOWN_AS.get(event.kind, event.kind) if event.stream == "compute" else "communication"


def by_row(timeline: Timeline) -> dict[tuple[int, str], list[TimelineEvent]]:
    """Return the events of each stage and stream, in time."""
    found: dict[tuple[int, str], list[TimelineEvent]] = {}
    for event in timeline.events:
        found.setdefault((event.stage, event.stream), []).append(event)
    return found


def slices(events: Sequence[TimelineEvent], edges_s: Floats) -> dict[str, Floats]:
    """Return how much of each slice of time events of each kind take, as shares of the slice.

    Parameters
    ----------
    events
        Of one stage and stream, in time.
    edges_s
        Where slices begin and end, (slices + 1,). [s]
    """
    found = {}
    for kind in KINDS:
        of_kind = [event for event in events if shown_as(event) == kind]
        if of_kind:
            times_s = np.array([(event.start_s, event.end_s) for event in of_kind]).ravel()
            lasted_s = np.array([(0.0, event.duration_s) for event in of_kind]).ravel()
            found[kind] = np.diff(np.interp(edges_s, times_s, np.cumsum(lasted_s))) / np.diff(edges_s)
    return found


def pattern(shares: dict[str, Floats]) -> list[str | None]:
    """Return one kind for each slice, so that along the row each kind gets about its share; None where nothing is.

    A slice shows a kind that is in it: the one that is owed most so far.
    """
    num_slices = len(next(iter(shares.values()))) if shares else 0
    owed = dict.fromkeys(shares, 0.0)
    found: list[str | None] = []
    for i in range(num_slices):
        here = {kind: float(share[i]) for kind, share in shares.items() if share[i] > _LEAST}
        for kind, share in here.items():
            owed[kind] += share
        best = max(here, key=owed.__getitem__) if here and sum(here.values()) > _HALF else None
        if best:
            owed[best] -= 1
        found.append(best)
    return found


_LEAST = 0.25
"""Share of a slice below which a kind does not show in it."""
_HALF = 0.5


def round_ticks(span_s: float, most: int) -> list[float]:
    """Return round times from 0 to ``span_s``, at most ``most``.

    Examples
    --------
    >>> round_ticks(36.5, 8)
    [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0]
    """
    power = 10.0 ** np.floor(np.log10(span_s / most))
    step = next(power * m for m in (1, 2, 5, 10, 20) if span_s / (power * m) < most)
    return [float(f"{step * i:.6g}") for i in range(int(span_s / step) + 1)]


def title(timeline: Timeline) -> tuple[str, str]:
    """Return two lines that say what is shown."""
    training, plan = timeline.training, timeline.plan
    first = (
        f"{training.model.name} on {format_count(plan.num_gpus)} x {timeline.cluster.name}: "
        f"a step of {format_time(timeline.time_s)}, simulated (estimate {format_time(timeline.estimate_s)})"
    )
    sequences = f"{format_count(training.batch_seqs)} sequences of {format_count(training.seq_len)} tokens"
    return first, f"{plan}; {sequences}; {timeline.stack.id}"
