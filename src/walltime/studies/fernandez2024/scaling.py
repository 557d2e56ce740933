"""More accelerators for the same training: with the batch (weak scaling) and without (strong scaling)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from walltime.studies.captions import listed
from walltime.studies.fernandez2024.any_plan import ANY_PLAN_MEANS, any_plan
from walltime.studies.fernandez2024.choices import BEST_MEANS, best, fsdp, layouts
from walltime.studies.fernandez2024.drawing import GPUS_LABEL, gpu_ticks, panel, percent, plan_name, with_published
from walltime.studies.fernandez2024.points import Point
from walltime.studies.fernandez2024.published import setting, value
from walltime.studies.fernandez2024.rows import complete, with_scaling
from walltime.studies.fernandez2024.setting import FEW, MANY, Setting, node_size
from walltime.studies.figure import Figure

WEAK_GPUS = tuple(2**power for power in range(3, 18))
"""8 to 2,048 as in the paper, and on to 131,072."""
LOCAL_BATCHES = (1, 2, 4)
STRONG_NODES = (1, 2, 4, 8, 16, 32, 64, 128)
PRETRAINING_NODES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
DEGREES = (1, 2, 4, 8, 16, 32)
_ANCHOR = f"the paper, from ours at {FEW}"


def weak(num_gpus: int, seqs_per_gpu: int | None = None, **settings: Any) -> Setting:
    """Return the setting of weak scaling: the batch grows with the accelerators."""
    local = seqs_per_gpu or setting("seqs_per_gpu")
    return Setting(num_gpus, local * num_gpus, **settings)


def weak_best(num_gpus: int) -> Point:
    """Return the best of tensor × pipeline × FSDP for a batch that grows with the accelerators."""
    return best(layouts(weak(num_gpus), [(tp, pp) for tp in DEGREES for pp in DEGREES]))


def strong(num_nodes: int, batch: str = "strong_batch_seqs") -> Setting:
    """Return the setting of strong scaling: the batch, the name of a setting, stays."""
    return Setting(num_nodes * node_size(weak(1)), setting(batch))


def strong_best(num_nodes: int, batch: str = "strong_batch_seqs") -> Point:
    """Return the best of tensor × pipeline × FSDP for a fixed batch on some nodes."""
    pairs = [(tp, pp) for tp in DEGREES for pp in DEGREES]
    return best(layouts(strong(num_nodes, batch), pairs))


BEST, ANY = "tp × pp × FSDP", "any plan"


def weak_scaling() -> Figure:
    """FSDP alone on 8 to 131,072 H100s at one, two and four sequences an accelerator; the best plans at two."""
    fixed = {f"FSDP alone, {local} a GPU": [fsdp(weak(size, local)) for size in WEAK_GPUS] for local in LOCAL_BATCHES}
    local = setting("seqs_per_gpu")
    curves = fixed | {
        f"{BEST}, {local} a GPU": [weak_best(size) for size in WEAK_GPUS],
        f"{ANY}, {local} a GPU": [any_plan(weak(size)) for size in WEAK_GPUS],
    }
    rows = [row for name, curve in curves.items() for row in with_scaling([point.row(series=name) for point in curve])]
    base = fsdp(weak(FEW))
    panels = (
        with_published(panel("tokens/s per GPU", curves, RATE), _ANCHOR, _anchor(base, RATE, "weak-throughput")),
        with_published(panel("board power [W]", curves, POWER), _ANCHOR, _anchor(base, POWER, "weak-power")),
        panel("exposed, share of step", curves, EXPOSED, percent=True),
    )
    return _figure("weak_scaling", "Weak scaling: the batch grows with the GPUs", _weak_caption(), panels, rows)


RATE, POWER, EXPOSED = "tokens_per_s_per_gpu", "board_power_w", "exposed_share_of_step"


def _anchor(base: Point, metric: str, claim: str) -> dict[float, float]:
    """Return where the paper's change leads from our number at the smaller size."""
    return {float(MANY): base[metric] * (1 + value(claim))}


def _weak_caption() -> str:
    base, far, most = fsdp(weak(FEW)), fsdp(weak(MANY)), any_plan(weak(MANY))
    held = _change(any_plan(weak(FEW)), most, RATE)
    return (
        f"Llama 2 7B, sequences of {base.setting.seq_len:,} tokens. FSDP alone over all GPUs with resharding: from "
        f"{FEW} to {MANY:,} H100s tokens/s per GPU change by {_change(base, far, RATE)} (the paper, by a summary: "
        f"{_paper('weak-throughput')}) and the board’s power by {_change(base, far, POWER)} ({_paper('weak-power')}), "
        f"at {setting('seqs_per_gpu')} sequences a GPU, which are recalled and not verified. What nothing hides of "
        f"communication takes {percent(base[EXPOSED])} of the step at {FEW} and {percent(far[EXPOSED])} at {MANY:,}; "
        f"beyond, throughput of the whole cluster hardly grows. {BEST_MEANS}; {ANY_PLAN_MEANS}: at {MANY:,} that is "
        f"{plan_name(most)}, and tokens/s per GPU change by {held} from {FEW}. State in small groups has short rings "
        "at any size, so that weak scaling of this model hardly diminishes: no measurement here backs that."
    )


def _change(base: Point, far: Point, metric: str) -> str:
    return percent(far[metric] / base[metric] - 1, signed=True)


def _paper(name: str) -> str:
    return percent(value(name), signed=True)


def strong_scaling() -> Figure:
    """A fixed batch on ever more nodes: the best plans at each point, and FSDP alone beside them."""
    curves = _fixed_batch(STRONG_NODES, "strong_batch_seqs")
    found, most = curves[BEST], curves[ANY]
    two, many = found[2], found[32]
    plans = listed(f"{plan_name(found[nodes])} on {nodes}" for nodes in (2, 8, 32))
    possible = [nodes for nodes, point in curves["FSDP alone"].items() if point.runs]
    caption = (
        f"Llama 2 7B, {two.setting.batch_seqs} sequences of {two.setting.seq_len:,} tokens a step whatever the cluster "
        f"(recalled, not verified). With the best of {BEST}, from 2 to 32 nodes, 16 times the GPUs, throughput grows "
        f"{_times(two, many)}-fold and MFU falls from {percent(two['mfu'])} to {percent(many['mfu'])} (the paper, by "
        f"one summary: about 40 % to under 15 %), with {plans} nodes. With {ANY} of the planner’s "
        f"{_times(most[2], most[32])}-fold, {percent(most[2]['mfu'])} to {percent(most[32]['mfu'])}, with "
        f"{plan_name(most[32])} on 32. Returns diminish whatever the plan. FSDP alone needs a sequence for each GPU: "
        f"not possible beyond {max(possible, default=0)} nodes."
    )
    levels = {float(two.setting.num_gpus): value("strong-few"), float(many.setting.num_gpus): value("strong-many")}
    name = "the paper: about 40 %, under 15 %"
    figure = _of_fixed_batch("strong_scaling", "Strong scaling: a fixed batch", caption, curves)
    return replace(figure, panels=(with_published(figure.panels[0], name, levels), *figure.panels[1:]))


def _times(before: Point, after: Point) -> str:
    return f"{after['tokens_per_s'] / before['tokens_per_s']:.1f}"


def pretraining_scale() -> Figure:
    """A batch of the size that models are pre-trained with, on ever more nodes."""
    curves = _fixed_batch(PRETRAINING_NODES, "pretraining_batch_seqs")
    found, most = curves[BEST], curves[ANY]
    first, split = found[1], next(point for point in found.values() if point.plan.tp * point.plan.pp > 1)
    halved = [next(one for one in of.values() if one["mfu"] < of[1]["mfu"] / 2) for of in (found, most)]
    caption = (
        f"Llama 2 7B with its own batch, {first.setting.batch_seqs:,} sequences of {first.setting.seq_len:,} tokens "
        f"(Touvron et al. 2023: 4M tokens). A larger batch moves the decline to more GPUs. Of {BEST}, FSDP alone is "
        f"best below {split.setting.num_gpus:,}, where {plan_name(split)} is, and MFU is less than half of that on "
        f"{first.setting.num_gpus} GPUs ({percent(first['mfu'])}) from {halved[0].setting.num_gpus:,} on. "
        f"With {ANY} of the planner’s that is from {halved[1].setting.num_gpus:,} on."
    )
    return _of_fixed_batch("pretraining_scale", "Pre-training scale: Llama 2’s own batch", caption, curves)


def _fixed_batch(num_nodes: Sequence[int], batch: str) -> dict[str, dict[int, Point]]:
    """Return the best of tensor × pipeline × FSDP, any plan, and FSDP alone by nodes."""
    return {
        BEST: {nodes: strong_best(nodes, batch) for nodes in num_nodes},
        ANY: {nodes: any_plan(strong(nodes, batch)) for nodes in num_nodes},
        "FSDP alone": {nodes: layouts(strong(nodes, batch), [(1, 1)])[0] for nodes in num_nodes},
    }


def _of_fixed_batch(name: str, title: str, caption: str, found: Mapping[str, Mapping[int, Point]]) -> Figure:
    curves = {label: list(curve.values()) for label, curve in found.items()}
    rows = [row for label, curve in curves.items() for row in with_scaling([one.row(series=label) for one in curve])]
    panels = (
        panel("MFU", curves, "mfu", percent=True),
        panel("tokens/s, whole cluster", curves, "tokens_per_s"),
        panel("tokens/J of the boards", curves, "tokens_per_j"),
    )
    return _figure(name, title, caption, panels, rows)


def _figure(name: str, title: str, caption: str, panels: Any, rows: Sequence[dict[str, Any]]) -> Figure:
    listed_gpus = sorted({row["num_gpus"] for row in rows})
    ticks = gpu_ticks(listed_gpus)
    return Figure(name, title, caption, GPUS_LABEL, "", panels, complete(rows), x_ticks=ticks)
