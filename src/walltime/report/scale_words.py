"""The sizes of a cluster in words: how everything grows, where returns have halved, what is not worth having."""

from walltime.planner.scaling import Curve, Totals
from walltime.units import format_si

_GIGA = 1e9
_WHOLE = 100  # ratios from here on are whole numbers
_MOST_LISTED = 8
_FROM = "from about "
_UNKNOWN = "not known"


def scale_words(curve: Curve) -> str:
    """Return a line for each thing to take away."""
    if not curve.possible:
        return "no size is possible"
    if not curve.marginals:
        return "one size is possible: what an added GPU returns needs two"
    first, last = curve.possible[0].totals, curve.possible[-1].totals
    return "\n".join([_growth(first, last), _at_the_meter(curve), *_halving(curve), *_beaten(curve), *_slower(curve)])


def _growth(first: Totals, last: Totals) -> str:
    """Say by how much everything grows from the first size to the last."""
    grown = {
        "throughput": (first.tokens_per_s, last.tokens_per_s),
        "goodput": (first.goodput_tokens_per_s, last.goodput_tokens_per_s),
        "power": (first.power_w, last.power_w),
        "cost an hour": (first.usd_per_hour, last.usd_per_hour),
    }
    said = [f"{name} {_fold(*ends)}" for name, ends in grown.items()]
    return (
        f"from {first.num_gpus:,} to {gpus(last.num_gpus)}, {_fold(first.num_gpus, last.num_gpus)}: {', '.join(said)}"
    )


def _at_the_meter(curve: Curve) -> str:
    """Say what the whole site draws and emits at both ends: hosts, network and building included."""
    ends = [point.metrics for point in (curve.possible[0], curve.possible[-1])]
    watts = [end["facility_power_w"] for end in ends]
    carbon = [end["carbon_kg_per_token"] for end in ends]
    if watts[0] is None or watts[1] is None or carbon[0] is None or carbon[1] is None:
        return "at the meter: not known what the rest of a node draws"
    drawn = " to ".join(format_si(each, "W", 3) for each in watts if each is not None)
    emitted = " to ".join(f"{_GIGA * each:,.3g}" for each in carbon if each is not None)
    return f"at the meter, hosts, network and building included: {drawn}; {emitted} kg CO2e a billion tokens"


def _fold(first: float | None, last: float | None) -> str:
    if first is None or last is None or not first:
        return _UNKNOWN
    ratio = last / first
    return f"{ratio:,.0f}-fold" if ratio >= _WHOLE else f"{ratio:.3g}-fold"


def _halving(curve: Curve) -> list[str]:
    """Say from where on an added GPU returns less than half of what it costs, and what that counts."""
    half = "half of what it costs" if curve.counts_dollars else "half of what a GPU does at the best size"
    at = curve.halving_gpus
    if not curve.hull:
        return ["failures leave nothing of the throughput, at any size"]
    beside = f"beside {gpus(curve.hull[0].num_gpus)}"
    if at is None:
        said = f"an added GPU returns at least {half} between these sizes, {beside}, the best of them"
    else:
        said = f"from about {_rounded(at)} GPUs on, an added one returns less than {half}, {beside}, the best size"
    counted = [_failures(curve) if curve.counts_failures else "failures not known"]
    last = _last(curve) if at is None else []
    return [said, *last, "; ".join(counted + ([] if curve.counts_dollars else ["prices not known"]))]


def _last(curve: Curve) -> list[str]:
    """Say what the last of the sizes worth having return; beyond them nothing was asked."""
    if len(curve.hull) < 2:
        return []
    before, after = curve.hull[-2:]
    share = curve.hull_shares[-1][1]
    return [f"it returns {share:.0%} of it from {before.num_gpus:,} to {gpus(after.num_gpus)}; beyond was not asked"]


def _failures(curve: Curve) -> str:
    """Say where the return has halved over the range of what is known of failures, and without any."""
    mid, ideal = _place(curve.halving_gpus), _place(curve.halving_gpus_without_failures)
    ends = [_place(end) for end in curve.halving_gpus_range or ()]
    without = f"without them {ideal}"
    if not ends:
        return f"failures counted; {without}"
    if {mid, ideal, *ends} == {mid}:
        return "failures counted: the same over the range of what is known of them, and without them"
    if None in (curve.halving_gpus_range or ()):
        return f"failures counted: {ends[0]} at the worst that is known of them, {ends[1]} at the best; {without}"
    among = ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1].removeprefix(_FROM)}"
    return f"failures counted: {among} over the range of what is known of them; {without}"


def _place(at: float | None) -> str:
    return "nowhere in this range" if at is None else f"{_FROM}{_rounded(at)}"


def _beaten(curve: Curve) -> list[str]:
    """Say at which sizes others do better for the same cost, by more than the error of step times."""
    if not curve.beaten:
        return []
    most = max(curve.shortfall(point) or 0.0 for point in curve.beaten)
    sizes = [f"{point.num_gpus:,}" for point in curve.beaten]
    more = [f"{len(sizes) - _MOST_LISTED + 1} more sizes"] if len(sizes) > _MOST_LISTED else []
    said = [*sizes[: _MOST_LISTED - 1], *more] if more else sizes
    listed = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
    noun = "" if more else " GPU" if sizes == ["1"] else " GPUs"
    return [f"{listed}{noun}: up to {most:.0%} less than other sizes, or a mix of them, give for the same cost"]


def _slower(curve: Curve) -> list[str]:
    """Say which size first gives less than the one before: plans do not divide it, or it fails too often."""
    for one in curve.marginals:
        before, after = f"{one.before.num_gpus:,}", gpus(one.after.num_gpus)
        if one.after.tokens_per_s < one.before.tokens_per_s:
            return [f"{after} train slower than {before}: fast plans do not divide them, or nothing is left to split"]
        if (one.per("num_gpus", goodput=True) or 0.0) < 0:
            return [f"{after} get less done than {before}: they fail so often that it outweighs their speed"]
    return []


def gpus(count: int) -> str:
    """Return a number of accelerators with its noun."""
    return f"{count:,} GPU{'' if count == 1 else 's'}"


def _rounded(count: float) -> str:
    return f"{float(f'{count:.2g}'):,.0f}"
