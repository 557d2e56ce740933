"""One step of a real model as text: time, utilisation, memory, where the time goes, measured rows nearby."""

from collections.abc import Sequence
from dataclasses import dataclass

from walltime.catalog.calibrations import calibration_record
from walltime.catalog.fitted import accelerator_blocks, kernels_record, stack_blocks
from walltime.economics.account import Account
from walltime.economics.terms import Terms
from walltime.engines.transformer import TransformerEstimate
from walltime.engines.transformer_memory import RECLAIMABLE
from walltime.engines.what_if import link_blocks
from walltime.plan import Plan
from walltime.report.account import account_lines, numbers_table
from walltime.report.terminal import bar, table
from walltime.units import format_count, format_short, format_si, format_time
from walltime.validate.cases import Case
from walltime.validate.nearby import Nearby
from walltime.workload.parameters import num_active_parameters, num_parameters

_BAR = 24
_WIDEST = 60
_HOUR_S = 3600
PARTS = {
    "matmul": ("matmuls", "linear layers, experts, embedding and output layer"),
    "attention": ("attention", "scores, softmax and weighted values, or the fused kernel"),
    "memory_bound": ("memory-bound kernels", "norms, rotary positions, activations, residuals, dropout, loss"),
    "host": ("host", "waiting for the host to start kernels"),
    "tp_comm": ("tensor-parallel traffic, exposed", "gathers and reductions of activations that nothing hides"),
    "cp_comm": ("context-parallel traffic, exposed", "keys and values between ranks that nothing hides"),
    "ep_comm": ("expert-parallel traffic, exposed", "tokens to experts and back that nothing hides"),
    "pp_comm": ("sends between stages, exposed", "activations and their gradients that nothing hides"),
    "dp_comm": ("data-parallel traffic, exposed", "gradients and sharded parameters that nothing hides"),
    "bubble": ("pipeline bubble", "stages with nothing to do while a pipeline fills and drains"),
    "optimizer": ("optimizer", "the update of the parameters"),
    "overhead": ("fixed overhead", "per step and per microbatch, fitted"),
}
"""What the parts of a step are called, and what is in them."""


@dataclass(frozen=True)
class Context:
    """What is printed beside an estimate.

    Attributes
    ----------
    account
        The estimate as whoever pays sees it.
    nearby
        Measured rows nearest to the question.
    tokens
        Of the whole run; None if it was not asked for.
    published
        What a paper printed of this very run, None if none did.
    """

    account: Account
    nearby: Sequence[Nearby] = ()
    tokens: float | None = None
    published: Case | None = None


def missing_bytes(result: TransformerEstimate) -> float:
    """Return how much memory the fullest accelerator lacks, 0 if the plan fits [B]."""
    return max(0.0, float(result.needed_bytes[0] - result.memory_capacity_bytes[0]))


def transformer_text(result: TransformerEstimate, context: Context) -> str:
    """Return what `walltime estimate` prints of one plan of a real model."""
    sections = [
        _heading(result),
        _headline(result, context),
        table(["where the time goes", "a step", "share", ""], _part_rows(result)),
        table(["memory of the fullest accelerator", "bytes", "share", ""], _memory_rows(result)),
        _published_text(result, context.published),
        nearby_text(context.nearby),
    ]
    return "\n\n".join(section for section in sections if section)


def _heading(result: TransformerEstimate) -> str:
    training, cluster = result.training, result.cluster
    model = training.model
    params = float(num_parameters(model, with_mtp=False))
    active = float(num_active_parameters(model, with_mtp=False))
    experts = f", {format_short(active)} of them active" if model.is_moe else ""
    extra = f", and {model.num_mtp_layers} multi-token-prediction layer" if model.num_mtp_layers else ""
    levels = ", ".join(
        f"{name} {format_si(bytes_per_s, 'B/s', 3)}"
        for name, bytes_per_s in zip(cluster.network.level_names, cluster.network.bytes_per_s, strict=True)
    )
    plan: Plan = result.plans.plan(0)
    return "\n".join(
        [
            f"{model.name}: {format_short(params)} parameters{experts}{extra}",
            f"batch: {format_count(training.batch_seqs)} sequences of {format_count(training.seq_len)} tokens, "
            f"{training.batch_tokens:,} tokens a step",
            f"on {format_count(plan.num_gpus)} x {cluster.name} ({levels}, one way), stack {result.stack.id}",
            *_calibration(result),
            f"plan: {plan}",
        ]
    )


def _calibration(result: TransformerEstimate) -> list[str]:
    """Say which calibration a result stands on, if on one."""
    own = calibration_record(result.cluster.accelerator.id)
    if own is None:
        return []
    quality = own.step_quality
    software = f" of stack {', '.join(own.stack)}" if own.stack else ""
    error = (
        ""
        if quality is None
        else f"; step times{software} {quality.median_error:.1%} off in the median where it was fitted"
    )
    if quality is not None and quality.held_out_median_error is not None:
        error += f", {quality.held_out_median_error:.1%} on rows held out"
    return [f"calibration {own.id} {own.version} of {own.origin.date}{error}"]


def _headline(result: TransformerEstimate, context: Context) -> str:
    time_s, lower_s, upper_s = (float(t[0]) for t in (result.time_s, result.lower_s, result.upper_s))
    mfu, hfu = float(result.utilization[0]), float(result.hardware_utilization[0])
    needed, there = float(result.needed_bytes[0]), float(result.memory_capacity_bytes[0])
    tokens_per_s = float(result.tokens_per_s[0])
    lacking = missing_bytes(result)
    fits = f"DOES NOT FIT, {format_si(lacking, 'B', 3)} too much" if lacking else "fits"
    lines = [
        f"  step time  {format_time(time_s)}   [lower {format_time(lower_s)}, upper {format_time(upper_s)}: "
        "if all overlapped, or nothing]",
        f"  MFU        {mfu:.1%}   [{mfu * time_s / upper_s:.1%}, {mfu * time_s / lower_s:.1%}]   HFU {hfu:.1%}",
        f"             of the dense {result.plans.precision} peak, {format_si(result.peak_flop_per_s, 'FLOP/s')}; "
        f"FLOP by the convention {result.convention}",
        f"  tokens/s   {format_count(tokens_per_s)}, {tokens_per_s / float(result.plans.num_gpus[0]):,.4g} "
        "per accelerator",
        f"  memory     {format_si(needed, 'B', 3)} of {format_si(there, 'B', 3)} usable on the fullest accelerator: "
        f"{fits}",
    ]
    return "\n".join([*lines, *account_lines(context.account, context.tokens)])


def _part_rows(result: TransformerEstimate) -> list[list[str]]:
    total = float(result.time_s[0])
    parts = {name: float(part[0]) for name, part in result.parts_s.items()}
    return [
        [PARTS[name][0], format_time(part_s), f"{part_s / total:.1%}", bar(part_s / total, _BAR)]
        for name, part_s in parts.items()
        if part_s >= total / 10_000
    ]


def _memory_rows(result: TransformerEstimate) -> list[list[str]]:
    there = float(result.memory_capacity_bytes[0])
    parts = {name: float(part[0]) for name, part in result.memory_bytes.items()}
    rows = [
        [
            name.replace("_", " ") + (" (given back if needed)" if name in RECLAIMABLE else ""),
            format_si(size, "B", 3),
            f"{size / there:.1%}",
            bar(size / there, _BAR),
        ]
        for name, size in parts.items()
        if size >= there / 10_000
    ]
    needed = float(result.needed_bytes[0])
    return [*rows, ["needed", format_si(needed, "B", 3), f"{needed / there:.1%}", bar(needed / there, _BAR)]]


def _published_text(result: TransformerEstimate, run: Case | None) -> str:
    """Return what a paper printed of this run beside the prediction, empty if none did."""
    if run is None or run.step_time_s is None:
        return ""
    row, predicted_s = run.row, float(result.time_s[0])
    printed = [f"MFU {row.mfu:.0%}"] if row.mfu else []
    printed += [f"{row.model_tflops_per_gpu:g} TFLOP/s an accelerator"] if row.model_tflops_per_gpu else []
    times = [format_time(run.step_time_s), format_time(predicted_s), f"{predicted_s / run.step_time_s - 1:+.1%}"]
    cells = [f"{row.source_id}, {row.source_ref}", row.model_name, ", ".join(printed), *times]
    return table(["this run as published", "model", "printed", "so a step", "predicted", "error"], [cells], left=3)


def nearby_text(nearby: Sequence[Nearby]) -> str:
    """Return measured rows beside their predictions, empty if there are none."""
    if not nearby:
        return ""
    rows = []
    for near in nearby:
        row, case = near.case.row, near.case
        rows.append(
            [
                row.source_id,
                row.model_name,
                f"{format_count(case.num_gpus)} x {case.machine.accelerator}",
                _short(case.plan),
                format_time(near.measured_s),
                format_time(near.predicted_s),
                f"{near.error:+.1%}",
            ]
        )
    return table(["nearest measured rows", "model", "on", "plan", "measured", "predicted", "error"], rows, left=4)


def _short(plan: Plan) -> str:
    shown = {"tp": plan.tp, "cp": plan.cp, "ep": plan.ep, "pp": plan.pp, "dp": plan.dp}
    degrees = " ".join(f"{name} {degree}" for name, degree in shown.items() if degree > 1)
    return f"{degrees or 'dp 1'}, {plan.precision}"


def explanation_text(result: TransformerEstimate, terms: Terms) -> str:
    """Return what each part of a step is, and what its numbers stand on, those of power, cost and failures too."""
    parts = [[label, meaning] for label, meaning in PARTS.values()]
    return "\n\n".join(
        [
            table(["part", "what is in it"], parts, left=2),
            "Exposed traffic is what computation does not hide: the stack's share of each kind can overlap. The lower\n"
            "bound hides all of it, and bubble and overhead; the upper bound none.",
            table(["numbers", "of", "kind", "rows", "fitted on"], _blocks(result), left=5),
            "Formulas: walltime.physics and walltime.engines; numbers with ranges: src/walltime/data/fitted.",
            numbers_table(result.cluster, terms),
        ]
    )


def _blocks(result: TransformerEstimate) -> list[list[str]]:
    """Return one row for each block of fitted numbers that an estimate used."""
    chip, network, stack = result.cluster.accelerator.id, result.cluster.network.id, result.stack.id
    kernels = kernels_record(chip)
    named = [("what accelerators sustain", chip, accelerator_blocks(chip)[-1])]
    named += [("what software adds", stack, stack_blocks(stack, chip)[-1])]
    named += [("matmul kernel", f"{chip}, {name}", block) for name, block in kernels.matmul.items()]
    named += [("attention kernel", f"{chip}, {name}", kernel.forward) for name, kernel in kernels.attention.items()]
    named += [("collectives", f"{network}, {block.name}", block) for block in link_blocks(result.cluster)]
    return [
        [what, of, block.kind, str(block.rows or ""), _cut(block.locator or block.source or block.note)]
        for what, of, block in named
    ]


def _cut(text: str) -> str:
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."
