"""The planner's answer as text: the recommendation, why, the best plans with their waterfalls, what was considered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from walltime.catalog.accuracy import median_error
from walltime.catalog.calibrations import calibration_record, kin_of
from walltime.plan import Plan
from walltime.planner import Answer, Option, Question
from walltime.planner.answer import rejections
from walltime.planner.reasons import Binding, Elasticity, Survival, losing_parts
from walltime.report.account import account_lines
from walltime.report.terminal import table
from walltime.report.transformer import PARTS, nearby_text
from walltime.search.plan_search import Counts
from walltime.units import format_count, format_short, format_si, format_time
from walltime.validate.cases import Case
from walltime.validate.ceilings import Ceiling, measured_utilization
from walltime.validate.nearby import Nearby
from walltime.workload.parameters import num_active_parameters, num_parameters

_DAY_S, _MILLION = 86400, 1e6
_COLUMNS = {
    "compute": ("matmul", "attention"),
    "HBM": ("memory_bound", "optimizer"),
    "host": ("host", "overhead"),
    "tp": ("tp_comm",),
    "cp": ("cp_comm",),
    "ep": ("ep_comm",),
    "pp": ("pp_comm",),
    "dp": ("dp_comm",),
    "bubble": ("bubble",),
}
"""Columns of the waterfall, and the parts of a step in each."""
RULES = {
    "num_heads": "tp divides the heads",
    "num_kv_heads": "tp divides, or is a multiple of, the key-value heads",
    "d_ff": "tp divides the hidden layer",
    "num_layers": "as many stages as layers at most",
    "num_experts": "experts divide over the ranks",
    "seq_len": "cp divides the sequence",
    "batch": "dp divides the batch",
    "stack": "the software has this kind of parallelism",
}
"""What each rule of divisibility says."""


@dataclass(frozen=True)
class Reasons:
    """What is said beside the plans; parts that were not asked for are None or empty.

    Attributes
    ----------
    nearby
        Measured rows nearest to the recommendation.
    others
        Published and measured runs of the same training, and their plans as the planner estimates them.
    highest
        The highest measured utilisation by accelerator, of those that were asked about.
    ceiling, binding, elasticities, survival
        See `walltime.validate.ceilings` and `walltime.planner.reasons`.
    """

    nearby: Sequence[Nearby] = ()
    others: Sequence[tuple[Case, Option]] = ()
    ceiling: Ceiling | None = None
    highest: Mapping[str, float] = field(default_factory=dict)
    binding: Binding | None = None
    elasticities: Sequence[Elasticity] = ()
    survival: Survival | None = None


def search_text(answer: Answer, reasons: Reasons) -> str:
    """Return what `walltime search` prints."""
    sections = [
        _heading(answer),
        _recommendation(answer, reasons),
        _sites(answer, reasons),
        options_table(answer.shown, answer),
        _considered(answer),
        _binding(answer, reasons.binding) if answer.question.compares_times else "",
        _elasticities(reasons.elasticities),
        _others(answer, reasons.others),
        nearby_text(reasons.nearby),
    ]
    return "\n\n".join(section for section in sections if section)


def short_plan(plan: Plan) -> str:
    """Return a plan in one short word a choice: ``tp8 pp16x8 dp128 mb1 zero1``."""
    words = [f"{kind}{getattr(plan, kind)}" for kind in ("tp", "cp", "ep") if getattr(plan, kind) > 1]
    words += [f"etp{plan.etp}"] if plan.etp > 1 else []
    words += [f"pp{plan.pp}" + (f"x{plan.vpp}" if plan.vpp > 1 else "")] if plan.pp > 1 else []
    words += [f"dp{plan.dp}", f"mb{plan.micro_batch}"]
    words += [plan.sharding + (f"/{plan.shard}" if 0 < plan.shard < plan.dp else "")]
    words += ["keep"] if plan.sharding == "zero3" and not plan.reshard else []
    words += [plan.schedule] if plan.pp > 1 and plan.schedule != "1f1b" else []
    if plan.recompute == "full":
        words += ["recompute" + (f"{plan.recompute_layers:.0%}" if plan.recompute_layers < 1 else "")]
    words += ["selective"] if plan.recompute == "selective" else []
    words += ["no-sp"] if plan.tp > 1 and not plan.sequence_parallel else []
    words += ["a2a"] if plan.cp > 1 and plan.cp_algorithm != "ring" else []
    words += [f"order:{','.join(plan.order)}"] if plan.order != Plan().order else []
    return " ".join([*words, plan.precision])


def _heading(answer: Answer) -> str:
    training = answer.question.training
    return training_lines(
        answer.question,
        f"batch: {format_count(training.batch_seqs)} sequences of {format_count(training.seq_len)} tokens, "
        f"{training.batch_tokens:,} tokens a step",
    )


def training_lines(question: Question, batch: str) -> str:
    """Return what is trained, its batch in words, by what software, and what was asked for, a line each."""
    model = question.training.model
    params = format_short(float(num_parameters(model, with_mtp=False)))
    active = format_short(float(num_active_parameters(model, with_mtp=False)))
    lines = [
        f"{model.name}: {params} parameters" + (f", {active} of them active" if model.is_moe else ""),
        f"{batch}; stack {question.stack.id}",
    ]
    constraints = question.constraints
    if constraints.names():
        lines.append(f"asked for: {', '.join(constraints.said(name) for name in constraints.names())}")
    return "\n".join(lines)


def _recommendation(answer: Answer, reasons: Reasons) -> str:
    one = answer.recommended
    estimate = one.estimate
    lower_s, upper_s = float(estimate.lower_s[0]), float(estimate.upper_s[0])
    lines = [
        f"plan: {one.plan}",
        f"  on         {format_count(one.plan.num_gpus)} x {one.cluster.name}",
        f"  step time  {format_time(one.time_s)}   [lower {format_time(lower_s)}, upper {format_time(upper_s)}: "
        "if all overlapped, or nothing]",
        f"  MFU        {one.utilization:.1%}   tokens/s {format_count(one.tokens_per_s)}",
        f"  memory     {format_si(one.needed_bytes, 'B', 3)} of "
        f"{format_si(float(estimate.memory_capacity_bytes[0]), 'B', 3)} usable on the fullest accelerator",
        *account_lines(one.account, answer.question.tokens),
        f"  why this   {_why(answer)}",
        *_fiction(one, reasons),
        *_survival(answer, reasons.survival),
    ]
    return "\n".join(lines)


def _why(answer: Answer) -> str:
    one, best = answer.recommended, answer.best
    others = len(answer.ties) - 1
    whose = median_error(best.cluster.accelerator.id, of_memory=answer.question.goal == "memory").said
    error = f"{answer.tie:.1%}, {whose}"
    if one is best:
        tied = f"; {others} more within {error}, none simpler" if others else f"; no other within {error}"
        searched = " of the sizes searched" if answer.question.goal == "gpus" and len(answer.sites) > 1 else ""
        return f"the best by {answer.question.goal}{searched}{tied}"
    slower = one.value(answer.question.goal)[0] / best.value(answer.question.goal)[0] - 1
    slower = one.time_s / best.time_s - 1 if answer.question.goal == "gpus" else slower
    return f"the simplest of {others + 1} plans within {error}; {slower:.1%} behind the best, {short_plan(best.plan)}"


def _fiction(one: Option, reasons: Reasons) -> list[str]:
    """Say whether utilisation is beyond what was ever measured, and what the nearest measured run reached."""
    ceiling, near = reasons.ceiling, [measured_utilization(near.case) for near in reasons.nearby[:1]]
    chip, precision = kin_of(one.cluster.accelerator.id), one.plan.precision
    if ceiling is None:
        return [f"  FLAG       {unbounded(one.cluster.accelerator.id, precision)}: nothing bounds this prediction"]
    case = ceiling.case
    whose = f"by {case.stack}" if ceiling.of_stack else f"by {case.stack}, none being by {one.estimate.stack.id},"
    nearest = f"; the nearest run, below, {near[0]:.1%}" if near else ""
    most = (
        f"{ceiling.utilization:.1%} {whose} on {chip} in {precision} ({case.source_id}: {case.row.model_name}, "
        f"{format_count(case.num_gpus)} accelerators){nearest}"
    )
    if one.utilization > ceiling.utilization:
        return [f"  FLAG       {one.utilization:.1%} MFU is more than was ever measured: at most {most}"]
    return [f"  measured   at most {most}"]


def unbounded(accelerator_id: str, formats: str) -> str:
    """Say why no measured utilisation bounds a prediction.

    Parameters
    ----------
    accelerator_id
        Of the catalog, or of a calibration, which keeps errors of the steps that it was fitted on, not their times.
    formats
        Number formats of the plans.
    """
    own = calibration_record(accelerator_id)
    if own is None or own.step_quality is None:
        return f"no measured step on {kin_of(accelerator_id)} in {formats} is known here"
    return f"{own.id} was fitted on {own.step_quality.rows:,} measured steps, of which it keeps no MFU"


def _survival(answer: Answer, found: Survival | None) -> list[str]:
    if found is None:
        return []
    taken = f"{format_time(found.time_s)} with every fitted number at its bad end"
    if found.survives:
        rest = "still the best" if found.regret <= 0 else f"within {answer.tie:.1%} of the best"
        return [f"  survives   {taken}: {rest}"]
    return [
        f"  DOES NOT SURVIVE  {taken}, where {short_plan(found.best_plan)} takes "
        f"{format_time(found.best_time_s)}, {1 - found.best_time_s / found.time_s:.1%} less"
    ]


def _highest(one: Option, reasons: Reasons) -> float:
    """Return the highest utilisation that was measured on an option's accelerator, all of it where none was."""
    return reasons.highest.get(one.cluster.accelerator.id, 1.0)


def _sites(answer: Answer, reasons: Reasons) -> str:
    """Return the best plan of each cluster, empty if there was one cluster."""
    if len(answer.sites) == 1:
        return ""
    pairs = sorted(zip(answer.sites, answer.of_sites, strict=True), key=lambda pair: pair[0].cluster.id)
    rows = [
        _site_row(site.cluster.num_gpus or 0, site.cluster.id, one, _may_fit(site.search.counts), reasons)
        for site, one in pairs
    ]
    run = ["run"] if answer.question.tokens is not None else []
    header = ["on", "step", "MFU", "tokens/s", "$/Mtoken", "J/token", *run, ""]
    beyond = any("!" in row[2] for row in rows)
    note = "\n! more than was ever measured on this accelerator" if beyond else ""
    return table(header, [row if run else [*row[:6], row[-1]] for row in rows]) + note


def _may_fit(counts: Counts) -> bool:
    """Whether some plan is not known not to fit: then, without an answer, it is the deadline that excludes it."""
    return counts.worse + counts.evaluated > 0


def _site_row(num_gpus: int, cluster: str, one: Option | None, fits: bool, reasons: Reasons) -> list[str]:
    on = f"{num_gpus} x {cluster}"
    if one is None:
        return [on, *[""] * 6, "too slow for the deadline" if fits else "no plan fits"]
    return [
        on,
        format_time(one.time_s),
        f"{one.utilization:.1%}" + (" !" if one.utilization > _highest(one, reasons) else ""),
        format_count(one.tokens_per_s),
        *_prices(one),
        f"{one.run_time_s / _DAY_S:,.3g} d",
        short_plan(one.plan),
    ]


def _prices(one: Option) -> list[str]:
    cost, energy = one.cost_usd_per_token, one.energy_j_per_token
    return ["" if cost is None else f"{cost * _MILLION:.3g}", "" if energy is None else f"{energy:.3g}"]


def options_table(options: Sequence[Option], answer: Answer | None = None) -> str:
    """Return plans with their waterfalls, shares of each step that nothing hides, and where each loses to the best."""
    columns = [name for name, parts in _COLUMNS.items() if any(_seconds(one, parts) > 0 for one in options)]
    several = len({(one.cluster.id, one.plan.num_gpus) for one in options}) > 1
    header = ["", "plan", *(["on"] if several else []), "step", "MFU", "memory", "$/Mtoken", "J/token", *columns, ""]
    rows = [
        [
            _mark(one, answer),
            short_plan(one.plan),
            *([f"{one.plan.num_gpus}x{one.cluster.id}"] if several else []),
            format_time(one.time_s),
            f"{one.utilization:.1%}",
            format_si(one.needed_bytes, "B", 3),
            *_prices(one),
            *(_share(_seconds(one, _COLUMNS[name]), one.time_s) for name in columns),
            _loses(one, answer),
        ]
        for one in options
    ]
    note = "shares of each step: what nothing hides on the busiest stage"
    marks = f"; > recommended, = as good within {answer.tie:.1%}" if answer else ""
    return f"{table(header, rows, left=3 if several else 2)}\n{note}{marks}"


def _mark(one: Option, answer: Answer | None) -> str:
    if answer is None:
        return ""
    return ">" if one is answer.recommended else "=" if one in answer.ties else ""


def _share(part_s: float, whole_s: float) -> str:
    return f"{part_s / whole_s:.1%}" if part_s > 0 else ""


def _seconds(one: Option, parts: Sequence[str]) -> float:
    return sum(one.parts_s[name] for name in parts)


def _loses(one: Option, answer: Answer | None) -> str:
    if answer is None or one is answer.best or not answer.question.compares_times:
        return ""
    if one.cluster != answer.best.cluster:
        return ""
    lost = losing_parts(one, answer.best)
    if not lost:
        return ""
    return "loses " + ", ".join(f"{PARTS[name][0].split(',')[0]} +{format_time(loss_s)}" for name, loss_s in lost)


def _considered(answer: Answer) -> str:
    counts = answer.counts
    rules = rejections(counts)
    names = set(answer.question.constraints.names())
    rows = [["plans considered", f"{counts.considered:,}", ""]]
    rows += [
        ["  excluded by " + (answer.question.constraints.said(name) if name in names else name), f"{count:,}", rule]
        for name, count in rules.most_common()
        for rule in ["asked for" if name in names else RULES.get(name, "")]
    ]
    rows += [
        ["  known not to fit", f"{counts.not_fitting:,}", "memory of the fullest accelerator"],
        ["  proven to be worse", f"{counts.worse:,}", "by a lower bound, whether they fit or not"],
        ["  compared", f"{counts.evaluated:,}", "the step computed"],
    ]
    return table(["what was searched", "plans", ""], rows)


def _others(answer: Answer, others: Sequence[tuple[Case, Option]]) -> str:
    """Return the same training as others ran it beside the recommendation, empty if nobody did."""
    if not others:
        return ""
    ours_s = answer.recommended.time_s
    rows = [
        [
            case.source_id,
            short_plan(one.plan),
            format_time(case.step_time_s or 0.0),
            format_time(one.time_s),
            f"{ours_s / one.time_s - 1:+.1%}" if one.plan.precision == answer.recommended.plan.precision else "",
            "" if one.free_bytes >= 0 else f"needs {format_si(one.needed_bytes, 'B', 3)} by our count",
        ]
        for case, one in others
    ]
    header = ["this training as others ran it", "plan", "published", "predicted", "recommended against it", ""]
    return table(header, rows, left=2)


def _binding(answer: Answer, found: Binding | None) -> str:
    if found is None:
        return "binding constraint: none; without memory's limit and what was asked for, no plan is faster"
    faster = 1 - found.time_s / answer.best.time_s
    needs = f", needing {format_si(found.needed_bytes, 'B', 3)}" if found.name == "memory" else ""
    return (
        f"binding constraint: {found.name}. Without it {short_plan(found.plan)} would take "
        f"{format_time(found.time_s)}, {faster:.1%} less{needs}"
    )


def _elasticities(found: Sequence[Elasticity]) -> str:
    if not found:
        return ""
    others = any(one.is_other for one in found)
    rows = [
        [
            one.resource,
            f"{one.gain:+.1%}",
            *([f"with {short_plan(one.plan)}" if one.is_other else ""] if others else []),
        ]
        for one in sorted(found, key=lambda one: -one.gain)
    ]
    return table(["what a tenth more gives", "tokens/s", *([""] if others else [])], rows)
