"""A simulated step as a trace in Chrome's JSON format, which Perfetto opens.

References
----------
Google (2016), *Trace Event Format*: complete events (``X``) and metadata events (``M``), times in microseconds.
"""

import json
from collections.abc import Iterator
from typing import Any

from walltime import __version__
from walltime.catalog import data_version
from walltime.catalog.calibrations import calibration_record
from walltime.engines.simulated_step import STREAMS, TimelineEvent
from walltime.engines.timeline import Timeline

_THREADS = {
    "compute": "compute",
    "tp_comm": "tensor parallelism",
    "cp_comm": "context parallelism",
    "ep_comm": "expert parallelism",
    "pp_before": "received from the stage before",
    "pp_after": "received from the stage after",
    "dp_comm": "data parallelism",
}
_NAMES = {
    "forward": "forward",
    "backward": "backward",
    "input_gradient": "backward, input",
    "weight_gradient": "backward, weights",
    "receive": "wait for send",
    "exchange": "wait for data parallelism",
    "bubble": "bubble",
    "optimizer": "optimizer",
    "overhead": "overhead",
    "gather": "gather parameters",
    "reduce": "reduce gradients",
}
_NANOSECONDS = 1e9
_PER_MICROSECOND = 1000


def trace_json(timeline: Timeline, command: str = "") -> str:
    """Return a timeline as a trace: a process a pipeline stage, a thread a stream, an event a line.

    Parameters
    ----------
    timeline
        The step.
    command
        What it was made by, to stand in the trace.

    Notes
    -----
    ``otherData`` holds the command, versions and the predicted step time, against which a real trace can be checked.
    Times are whole nanoseconds; events of one thread do not overlap, and what lasts less than one is left out.
    """
    head = json.dumps({"displayTimeUnit": "ms", "otherData": _other_data(timeline, command)}, ensure_ascii=False)
    events = (json.dumps(event, separators=(",", ":")) for event in trace_events(timeline))
    return head[:-1] + ', "traceEvents": [\n' + ",\n".join(events) + "\n]}\n"


def trace_events(timeline: Timeline) -> Iterator[dict[str, Any]]:
    """Yield the events of a trace: first the names of processes and threads, then what happens."""
    used = {(event.stage, event.stream) for event in timeline.events}
    for stage in range(timeline.plan.pp):
        yield _metadata("process_name", stage, 0, name=f"stage {stage}")
        yield _metadata("process_sort_index", stage, 0, sort_index=stage)
        for thread, stream in enumerate(STREAMS):
            if (stage, stream) in used:
                yield _metadata("thread_name", stage, thread, name=_THREADS[stream])
                yield _metadata("thread_sort_index", stage, thread, sort_index=thread)
    yield from _complete(timeline)


def _metadata(what: str, stage: int, thread: int, **args: object) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": stage, "tid": thread, "args": args}


def _complete(timeline: Timeline) -> Iterator[dict[str, Any]]:
    threads = {stream: thread for thread, stream in enumerate(STREAMS)}
    until_ns: dict[tuple[int, str], int] = {}
    for event in timeline.events:
        key = event.stage, event.stream
        start_ns = max(round(event.start_s * _NANOSECONDS), until_ns.get(key, 0))
        duration_ns = round(event.end_s * _NANOSECONDS) - start_ns
        if duration_ns <= 0:
            continue
        until_ns[key] = start_ns + duration_ns
        yield {
            "ph": "X",
            "name": _name(event),
            "cat": event.stream,
            "pid": event.stage,
            "tid": threads[event.stream],
            "ts": start_ns / _PER_MICROSECOND,
            "dur": duration_ns / _PER_MICROSECOND,
            "args": _args(event, timeline),
        }


def _name(event: TimelineEvent) -> str:
    what = _NAMES[event.kind]
    return f"{what} {event.microbatch}" if event.microbatch >= 0 else what


def _args(event: TimelineEvent, timeline: Timeline) -> dict[str, Any]:
    if event.microbatch < 0:
        return {}
    args: dict[str, Any] = {"microbatch": event.microbatch, "chunk": event.chunk}
    if event.stream in ("pp_before", "pp_after"):
        args["bytes"] = timeline.send_bytes
    return args


def _other_data(timeline: Timeline, command: str) -> dict[str, Any]:
    training, own = timeline.training, calibration_record(timeline.cluster.accelerator.id)
    return {
        "command": command,
        "walltime": __version__,
        "data_version": data_version(),
        **({} if own is None else {"calibration": own.identity}),
        "model": training.model.name,
        "batch_seqs": training.batch_seqs,
        "seq_len": training.seq_len,
        "cluster": timeline.cluster.name,
        "num_gpus": timeline.plan.num_gpus,
        "plan": str(timeline.plan),
        "stack": timeline.stack.id,
        "predicted_step_time_s": timeline.estimate_s,
        "simulated_step_time_s": timeline.time_s,
    }
