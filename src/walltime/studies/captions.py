"""What may be said under a figure, computed from its curves, so that it is true in every mode."""

from collections.abc import Iterable, Mapping, Sequence

from walltime.limits import Frontier
from walltime.studies.figure import Mark
from walltime.units import format_flop


def ends(curves: Mapping[str, Frontier]) -> str:
    """Say where linear scaling ends on each curve, and between which two runs its latency wall lies."""
    found = {label: curve.linear_scaling_end() for label, curve in curves.items()}
    share = next(iter(found.values())).fraction
    at = [
        f"{flop(end.first_crossing_flop)} ({label})"
        for label, end in found.items()
        if end.first_crossing_flop
    ]
    never = [label for label, end in found.items() if not end.first_crossing_flop]
    text = (
        f"Utilisation first falls to {100 * share:.0f} % of its plateau at {listed(at)} FLOP." if at else ""
    )
    if never:
        text += f" It does not fall that far for {listed(never)}."
    return " ".join([text, *(_wall(labels, curves) for labels in same_wall(curves))]).strip()


def _wall(labels: Sequence[str], curves: Mapping[str, Frontier]) -> str:
    wall = curves[labels[0]].latency_wall
    whose = "of every curve" if len(labels) == len(curves) > 1 else f"of {listed(labels)}"
    if wall.last_feasible_flop is None:
        return f"No run {whose} is feasible."
    if wall.first_infeasible_flop is None:
        return (
            f"The latency wall {whose} is beyond the largest run tried, {flop(wall.last_feasible_flop)} FLOP."
        )
    between = f"{flop(wall.last_feasible_flop)} and {flop(wall.first_infeasible_flop)} FLOP"
    return f"The latency wall {whose} lies between {between}."


def same_wall(curves: Mapping[str, Frontier]) -> list[list[str]]:
    """Return the curves' labels, together where they end at the same wall."""
    groups: dict[tuple[float | None, float | None], list[str]] = {}
    for label, curve in curves.items():
        wall = curve.latency_wall
        groups.setdefault((wall.last_feasible_flop, wall.first_infeasible_flop), []).append(label)
    return list(groups.values())


def wall_marks(curves: Mapping[str, Frontier]) -> tuple[Mark, ...]:
    """Return a mark at each latency wall; beyond the last of them no curve goes on."""
    walls = {}
    for labels in same_wall(curves):
        at = curves[labels[0]].latency_wall.first_infeasible_flop
        walls[at] = _wall_name(labels, curves)
    last = None if None in walls else max(at for at in walls if at)
    return tuple(
        Mark(at, name, ends=at == last) for at, name in sorted((a, n) for a, n in walls.items() if a)
    )


def _wall_name(labels: Sequence[str], curves: Mapping[str, Frontier]) -> str:
    """Name a wall after what the curves that end there, and only they, have in common."""
    shared = [set(label.split(", ")) for label in labels]
    others = {part for label in curves if label not in labels for part in label.split(", ")}
    names = [
        part
        for part in labels[0].split(", ")
        if all(part in parts for parts in shared) and part not in others
    ]
    return ", ".join(["latency wall", *names]) if len(labels) < len(curves) else "latency wall"


def moved(what: str, ratio: float) -> str:
    """Say by how much something moves: ``moved("the wall", 202)`` is ``"moves the wall by a factor of 202"``."""
    if abs(ratio - 1) < 0.005:
        return f"leaves {what} where it is"
    return f"moves {what} by a factor of {format_flop(ratio, 2) if ratio >= 1e4 else format(ratio, '.3g')}"


def first_crossing_ratio(curve: Frontier, base: Frontier) -> float | None:
    """Return the end of linear scaling over that of another curve, None where either has none."""
    ours, theirs = (
        curve.linear_scaling_end().first_crossing_flop,
        base.linear_scaling_end().first_crossing_flop,
    )
    return ours / theirs if ours and theirs else None


def wall_ratio(curve: Frontier, base: Frontier) -> float | None:
    """Return the first infeasible run over that of another curve, None where either has none."""
    ours, theirs = curve.latency_wall.first_infeasible_flop, base.latency_wall.first_infeasible_flop
    return ours / theirs if ours and theirs else None


def flop(value: float | None) -> str:
    """Show a FLOP count, ``none`` where there is none."""
    return "none" if value is None else format_flop(value, 3)


def listed(words: Iterable[str]) -> str:
    """Join words: ``a, b and c``. Words that contain commas are set apart by semicolons."""
    all_words = list(words)
    mark = "; " if any(", " in word for word in all_words) else ", "
    if len(all_words) < 2:
        return "".join(all_words)
    return f"{mark.join(all_words[:-1])} and {all_words[-1]}"


def span(values: Iterable[float]) -> str:
    """Show the range of some shares: ``0.38-0.55``."""
    numbers = sorted(values)
    return f"{numbers[0]:.2f} to {numbers[-1]:.2f}"
