"""What each added GPU returns, as text: throughput, power, cost and goodput at every size, plans, what to take away."""

from collections.abc import Sequence

from walltime.catalog.calibrations import kin_of
from walltime.planner.reasons import Elasticity
from walltime.planner.scaling import Curve, ScalePoint, Scaling
from walltime.report.scale_words import gpus, scale_words
from walltime.report.search import short_plan, training_lines, unbounded
from walltime.report.terminal import table
from walltime.units import format_count, format_si, format_time

_HOUR_S, _MILLION, _BILLION = 3600, 1e6, 1e9
_BLANK = "-"
_HEADER = (
    *("GPUs", "step", "tokens/s", "per GPU", "MFU", "exposed", "W/GPU", "tokens/J", "$/Gtoken"),
    *("effective", "returns"),
)


def scale_text(found: Scaling) -> str:
    """Return what `walltime scale` prints."""
    sections = [_heading(found)]
    for curve in found.curves:
        sections += [
            f"on {curve.cluster.name}{_price(curve)}",
            _metrics(curve),
            _added(curve),
            _plans(curve),
            scale_words(curve),
            _help(curve),
        ]
    return "\n\n".join(section for section in sections if section)


def _heading(found: Scaling) -> str:
    asked = found.asked
    per_gpu = asked.batch_per_gpu
    training = asked.question.training
    batch = (
        f"strong scaling: {format_count(training.batch_seqs)} sequences of {format_count(training.seq_len)} tokens, "
        f"{training.batch_tokens:,} tokens a step at every size"
        if per_gpu is None
        else f"weak scaling: {per_gpu} sequence{'s' if per_gpu > 1 else ''} of {format_count(training.seq_len)} tokens "
        "for each GPU and step"
    )
    return training_lines(asked.question, batch)


def _price(curve: Curve) -> str:
    """Say at what price a GPU-hour is had, and how; empty if that is not known."""
    accounts = [point.option.account for point in curve.possible if point.option]
    prices = [point.metrics["usd_per_gpu_hour"] for point in curve.possible]
    known = [price for price in prices if price is not None]
    if not known or len(known) < len(prices):
        return ", of which no price is known" if accounts else ""
    low, high = f"${min(known):,.2f}", f"${max(known):,.2f}"
    said = low if low == high else f"{low} to {high}"
    return f", {'owned' if accounts[0].owned else 'rented'} at {said} a GPU-hour"


def _metrics(curve: Curve) -> str:
    beyond = any(point.exceeds_measured for point in curve.possible)
    rows = [_row(curve, point, mark=beyond) for point in curve.points]
    cost = "dollar" if curve.counts_dollars else "GPU"
    best = "" if curve.best is None else f", over that at {gpus(curve.best.num_gpus)}, the best size"
    gain = "goodput" if curve.counts_failures else "tokens/s, without failures,"
    lines = [
        table(_HEADER, rows),
        "exposed: communication that nothing hides, of the step; W and tokens/J: of the boards",
        "effective: share left after failures and checkpoints",
        f"returns: {gain} for each added {cost}{best}",
        *(["-: not known"] if any(_BLANK in row for row in rows) else []),
        *_measured(curve),
    ]
    return "\n".join(lines)


def _row(curve: Curve, point: ScalePoint, *, mark: bool) -> list[str]:
    metrics = point.metrics
    if not metrics:
        return [f"{point.num_gpus:,}", "no plan", *[""] * (len(_HEADER) - 2)]
    back = curve.return_to(point)
    cost = metrics["cost_usd_per_token"]
    return [
        f"{point.num_gpus:,}",
        format_time(metrics["step_time_s"] or 0.0),
        _count(metrics["tokens_per_s"]),
        _count(metrics["tokens_per_s_per_gpu"]),
        _percent(metrics["mfu"]) + (" !" if point.exceeds_measured else "  " if mark else ""),
        _percent(metrics["exposed_share_of_step"]),
        _number(metrics["board_power_w"], "{:,.0f}"),
        _number(metrics["tokens_per_j"], "{:,.3g}"),
        _number(None if cost is None else cost * _BILLION, "{:,.0f}"),
        _percent(metrics["effective_share"]),
        "" if back is None else f"{back:.0%}",
    ]


def _measured(curve: Curve) -> list[str]:
    """Say whether utilisation is beyond what was ever measured, or whether nothing was."""
    beyond = [point for point in curve.possible if point.exceeds_measured]
    chip, most = kin_of(curve.cluster.accelerator.id), [point.measured_ceiling_utilization or 0.0 for point in beyond]
    said = [f"! more than was ever measured on {chip}: at most {max(most):.1%}"] if beyond else []
    unknown = [point for point in curve.possible if point.measured_ceiling_utilization is None and point.option]
    formats = dict.fromkeys(point.option.plan.precision for point in unknown if point.option)
    if unknown:
        whose = unbounded(curve.cluster.accelerator.id, " or ".join(formats))
        said.append(f"{whose}: nothing bounds its MFU")
    return said


def _added(curve: Curve) -> str:
    """Return what each added GPU, watt and dollar gives, with failures as far as they are known."""
    if not curve.marginals:
        return ""
    goodput, rows = curve.counts_failures, []
    for one in curve.marginals:
        dollar = one.per("usd_per_hour", goodput=goodput)
        rows.append(
            [
                f"{one.before.num_gpus:,} to {one.after.num_gpus:,}",
                _number(one.per("num_gpus", goodput=goodput), "{:,.0f}"),
                _number(one.per("power_w", goodput=goodput), "{:,.3g}"),
                _number(None if dollar is None else dollar * _HOUR_S / _MILLION, "{:,.3g}"),
                _number(one.share(goodput=goodput), "{:.0%}"),
                *([_number(one.share(), "{:.0%}")] if goodput else []),
            ]
        )
    header = ["GPUs added", "tokens/s a GPU", "tokens a joule", "Mtokens a dollar", "returns"]
    found = table([*header, *(["without failures"] if goodput else [])], rows)
    counted = "counted" if goodput else "not known"
    blank = "; -: not known" if any(_BLANK in row for row in rows) else ""
    return f"{found}\nwhat the added GPUs, their boards' power and their price return, failures {counted}{blank}"


def _count(value: float | None) -> str:
    return _number(value, "{:,.0f}")


def _percent(value: float | None) -> str:
    return _number(value, "{:.1%}")


def _number(value: float | None, form: str) -> str:
    return _BLANK if value is None else form.format(value)


def _plans(curve: Curve) -> str:
    """Return the plans, and under them why some sizes have none; the batch where it differs."""
    header = ["GPUs", "fastest plan", f"the simplest within {_tie(curve):.1%} of it", "batch", "memory"]
    rows = [_plan_row(point) for point in curve.points]
    batches = {point.batch_seqs for point in curve.points}
    shown = [0, 1, *([2] if any(row[2] for row in rows) else []), *([3] if len(batches) > 1 else []), 4]
    found = table([header[i] for i in shown], [[row[i] for i in shown] for row in rows], left=3 if 2 in shown else 2)
    whys = [f"{gpus(point.num_gpus)}: {point.why_not}" for point in curve.points if not point.is_possible]
    return "\n".join([found, *whys])


def _tie(curve: Curve) -> float:
    return next((point.answer.tie for point in curve.possible if point.answer), 0.0)


def _plan_row(point: ScalePoint) -> list[str]:
    size, batch = f"{point.num_gpus:,}", "" if point.batch_seqs is None else format_count(point.batch_seqs)
    if point.option is None or not point.answer:
        return [size, "no plan", "", batch, ""]
    best, simple = point.option, point.answer.recommended
    simpler = short_plan(simple.plan) if simple is not best else ""
    return [size, short_plan(best.plan), simpler, batch, format_si(best.needed_bytes, "B", 3)]


def _help(curve: Curve) -> str:
    found: Sequence[Elasticity] = curve.elasticities
    if not found:
        return ""
    size, sizes = gpus(curve.critical.num_gpus), len(curve.possible)
    last = ", the largest possible size" if sizes > 1 else ""
    where = f"at {size}" + (", near there" if curve.halving_gpus is not None else last)
    others = any(one.is_other for one in found)
    rows = [
        [
            one.resource,
            f"{one.gain:+.1%}",
            *([f"with {short_plan(one.plan)}" if one.is_other else ""] if others else []),
        ]
        for one in found
    ]
    return table([f"what a tenth more gives {where}", "tokens/s", *([""] if others else [])], rows)
