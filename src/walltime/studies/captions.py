"""What may be said under a figure, computed from its curves, so that it is true in every mode."""

from collections.abc import Iterable, Mapping, Sequence

from walltime.limits import Frontier
from walltime.studies.figure import Mark
from walltime.units import format_flop


def ends(curves: Mapping[str, Frontier]) -> str:
    """Say where linear scaling ends on each curve, and between which two runs its latency wall lies."""
    found = {label: curve.linear_scaling_end() for label, curve in curves.items()}
    share = next(iter(found.values())).fraction
    crossings = {label: end.first_crossing_flop for label, end in found.items()}
    at = [f"{flop(value)} FLOP for {label}" for label, value in crossings.items() if value]
    never = [label for label, value in crossings.items() if not value]
    walls = " ".join(_wall(labels, curves) for labels in same_wall(curves))
    fallen = f"Utilisation first falls to {100 * share:.0f} % of its plateau at {listed(at)}. " if at else ""
    return f"{fallen}{f'It does not fall that far for {listed(never)}. ' if never else ''}{walls}"


def _wall(labels: Sequence[str], curves: Mapping[str, Frontier]) -> str:
    wall = curves[labels[0]].latency_wall
    whose = f"for all {len(curves)} curves" if len(labels) == len(curves) > 1 else f"for {listed(labels)}"
    last, beyond = flop(wall.last_feasible_flop), flop(wall.first_infeasible_flop)
    if wall.last_feasible_flop is None:
        return f"No run is feasible {whose}."
    if wall.first_infeasible_flop is None:
        return f"The latency wall lies beyond the largest run tried, {last} FLOP, {whose}."
    return f"The latency wall lies between {last} and {beyond} FLOP {whose}."


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
    return tuple(Mark(at, name, ends=at == last) for at, name in sorted((a, n) for a, n in walls.items() if a))


def _wall_name(labels: Sequence[str], curves: Mapping[str, Frontier]) -> str:
    """Name a wall after what the curves that end there, and only they, have in common."""
    shared = [set(label.split(", ")) for label in labels]
    others = {part for label in curves if label not in labels for part in label.split(", ")}
    names = [part for part in labels[0].split(", ") if all(part in parts for parts in shared) and part not in others]
    return ", ".join(["latency wall", *names]) if len(labels) < len(curves) else "latency wall"


def moved(what: str, ratio: float) -> str:
    """Say by how much something moves: ``moves the wall by a factor of 240``."""
    if abs(ratio - 1) < 0.005:
        return f"leaves {what} where it is"
    return f"moves {what} by a factor of {_rounded(ratio)}"


def _rounded(ratio: float) -> str:
    """Show two digits, without an exponent."""
    return f"{float(f'{ratio:.2g}'):,.0f}" if ratio >= 10 else f"{ratio:.2g}"


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


def h100_beside_a100(curves: Mapping[str, Frontier]) -> str:
    """Compare peaks, and the ends of linear scaling."""
    further = first_crossing_ratio(curves["H100"], curves["A100"])
    if further is None:
        return ""
    peaks = [curves[label].question.cluster.accelerator.peak_flop_per_s for label in ("H100", "A100")]
    return (
        f"The H100, {peaks[0] / peaks[1]:.1f} times as fast as the A100, scales linearly to {further:.2f} "
        "times the training compute, each measured against its own plateau."
    )


def effect(cause: str, curve: Frontier, base: Frontier) -> str:
    """Say what a change does to both thresholds."""
    further = {
        "the end of linear scaling": first_crossing_ratio(curve, base),
        "the wall": wall_ratio(curve, base),
    }
    said = [moved(what, ratio) for what, ratio in further.items() if ratio is not None]
    return f"{cause} {listed(said)}." if said else ""


def two_thresholds(curve: Frontier, closed_form_flop: float) -> str:
    """Tell the end of linear scaling from the latency wall, on one curve."""
    end, wall = curve.linear_scaling_end(), curve.latency_wall
    first, last = end.first_crossing_flop, end.last_crossing_flop
    fallen = f"Linear scaling ends where utilisation has fallen to {100 * end.fraction:.0f} % of its plateau: "
    if first is None:
        fallen += "it does not, up to the largest run."
    elif first == last:
        fallen += f"at {flop(first)} FLOP, after which no run is above that share again."
    else:
        fallen += f"first at {flop(first)} FLOP, but larger runs climb above that share again"
        fallen += f", the last of them before {flop(last)}." if last else "."
    largest = f"the largest run that any finishes is {flop(wall.last_feasible_flop)} FLOP"
    if wall.first_infeasible_flop:
        largest += f", the next on the grid, {flop(wall.first_infeasible_flop)}, is infeasible"
    return (
        f"Two thresholds, often mixed up. {fallen} The latency wall is where no cluster of any size finishes "
        f"in three months: {largest}, and the closed form at α = 0 says {flop(closed_form_flop)}. "
        "“About three years away” was said of the first, not of the second."
    )


def powers(of: Mapping[str, float]) -> str:
    """Say what a closed form goes with: ``duration to the power 2``."""
    return listed(f"{name} to the power {_signed(power)}" for name, power in of.items())


def _signed(power: float) -> str:
    return f"{power:g}".replace("-", "−")


def reference_compute(mended: bool, ratio: float, alpha: float) -> str:
    """Say what defect 5 does to a closed form at ``alpha``, and whether it is mended here."""
    effect = f"which puts the curve {ratio:.2g} times lower at α = {alpha:g}, and higher below α = 0"
    if mended:
        return f"All of it is in multiply-adds here; as published, the reference compute is in FLOP, {effect}."
    return f"As published, the reference compute is in FLOP and all the rest in multiply-adds, {effect}."


def flop(value: float | None) -> str:
    """Show a FLOP count, ``none`` where there is none."""
    return "none" if value is None else format_flop(value, 3)


def listed(words: Iterable[str]) -> str:
    """Join words: ``a, b and c``. Words that contain commas are set apart by semicolons."""
    *most, last = words
    if not most:
        return last
    comma = any(", " in word for word in (*most, last))
    return f"{('; ' if comma else ', ').join(most)}{'; and ' if comma else ' and '}{last}"


def span(values: Iterable[float]) -> str:
    """Show the range of some shares: ``0.38–0.55``."""
    ascending = sorted(values)
    return f"{ascending[0]:.2f}–{ascending[-1]:.2f}"
