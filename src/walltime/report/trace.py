"""What traces show: text, rows and JSON."""

from typing import Any

from walltime.measure.records import StepParts
from walltime.measure.trace import RankTrace, TraceReport
from walltime.report.terminal import table
from walltime.units import format_time

_NOTABLE = 0.02
"""Share of a step from which on a rank that computes longer than the others is worth a line."""


def overlap(parts: StepParts) -> float | None:
    """Return the share of communication that computation hides, None without communication."""
    if parts.communication_s == 0:
        return None
    return 1 - parts.exposed_communication_s / parts.communication_s


def trace_text(report: TraceReport) -> str:
    """Return what `walltime measure trace` prints."""
    header = ["trace", "steps", "step", "compute", "communication", "exposed", "idle", "overlap"]
    rows = [_row(name(rank, report), rank.mean) for rank in report.ranks]
    if len(report.ranks) > 1:
        rows.append(_row("mean", report.mean))
    sections = [table(header, rows), _kinds_text(report), _verdict(report)]
    return "\n\n".join(section for section in sections if section)


def name(rank: RankTrace, report: TraceReport) -> str:
    """Return what a trace is called: its rank where it says so, its file, and the accelerator where it has several.

    A file whose name another has too is called by its path.
    """
    alike = {other.path for other in report.ranks if other.path.name == rank.path.name}
    file = rank.path.name if len(alike) == 1 else str(rank.path)
    said = f"rank {rank.rank}, " if rank.rank is not None else ""
    device = "" if rank.device is None else f", accelerator {rank.device}"
    return f"{said}{file}{device}"


def _row(called: str, parts: StepParts) -> list[str]:
    hidden = overlap(parts)
    times = [parts.compute_s, parts.communication_s, parts.exposed_communication_s, parts.idle_s]
    shown = [f"{format_time(time_s)} {_share(time_s, parts.step_s)}" for time_s in times]
    return [called, str(parts.num_steps), format_time(parts.step_s), *shown, "-" if hidden is None else f"{hidden:.0%}"]


def _share(time_s: float, step_s: float) -> str:
    return f"({time_s / step_s:.0%})" if step_s else ""


def _kinds_text(report: TraceReport) -> str:
    """Return communication by kind, the mean over ranks; by groups of ranks too, where the traces name them."""
    mean = report.mean
    rows = [
        [kind.replace("_", "-"), format_time(time_s), format_time(mean.exposed_by_kind_s[kind])]
        for kind, time_s in sorted(mean.communication_by_kind_s.items(), key=lambda item: -item[1])
        if time_s
    ]
    if not rows:
        return ""
    kinds = table(["communication by kind", "a step", "exposed"], rows)
    groups = sorted(mean.exposed_by_group_s.items(), key=lambda item: -item[1])
    named = [[_printable(group), format_time(time_s)] for group, time_s in groups]
    return "\n\n".join([kinds, *([table(["by group of ranks", "exposed"], named)] if named else [])])


def _printable(text: str) -> str:
    """Return a name out of a trace as one short word that a terminal can show."""
    return "".join(character if character.isprintable() else "?" for character in text)[:60] or "(no name)"


def _verdict(report: TraceReport) -> str:
    """Return who is slowest, and whom the others wait for, where there are several."""
    if len(report.ranks) == 1:
        return ""
    slowest, late = report.slowest, report.straggler
    is_late = not report.ranks_of_several_runs and report.lag_s > _NOTABLE * report.mean.step_s
    lines = [f"longest step: {name(slowest, report)}, {format_time(slowest.mean.step_s)}"]
    if is_late:
        lines.append(
            f"straggler: {name(late, report)} computes {format_time(report.lag_s)} longer than ranks do in the mean "
            f"({_of(report.lag_s, report.mean.step_s)} of a step); the others wait for it"
        )
    return "\n".join(lines)


def _of(part_s: float, whole_s: float) -> str:
    return f"{part_s / whole_s:.1%}"


def trace_rows(report: TraceReport) -> list[dict[str, Any]]:
    """Return one flat row a step of each trace, units in the keys."""
    return [
        {
            "file": str(rank.path),
            "rank": rank.rank,
            "device": rank.device,
            "step": number,
            **_flat(step),
        }
        for rank in report.ranks
        for number, step in enumerate(rank.steps)
    ]


def _flat(parts: StepParts) -> dict[str, Any]:
    hidden = overlap(parts)
    return {
        "step_s": parts.step_s,
        "compute_s": parts.compute_s,
        "communication_s": parts.communication_s,
        "exposed_communication_s": parts.exposed_communication_s,
        "idle_s": parts.idle_s,
        "overlap": hidden,
        **{f"{kind}_s": time_s for kind, time_s in parts.communication_by_kind_s.items()},
        **{f"exposed_{kind}_s": time_s for kind, time_s in parts.exposed_by_kind_s.items()},
    }


def parts_json(parts: StepParts) -> dict[str, Any]:
    """Return a step's parts for JSON."""
    return {**vars(parts), "overlap": overlap(parts)}


def trace_json(report: TraceReport) -> dict[str, Any]:
    """Return what `walltime measure trace --json` prints; of several runs there is no straggler."""
    one_run = not report.ranks_of_several_runs
    return {
        "ranks": [
            {
                "file": str(rank.path),
                "rank": rank.rank,
                "device": rank.device,
                "on_accelerator": rank.on_accelerator,
                "mean": parts_json(rank.mean),
                "steps": [parts_json(step) for step in rank.steps],
            }
            for rank in report.ranks
        ],
        "mean": parts_json(report.mean),
        "longest_step_file": str(report.slowest.path),
        "straggler_file": str(report.straggler.path) if one_run else None,
        "straggler_lag_s": report.lag_s if one_run else None,
    }
