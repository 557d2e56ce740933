"""More accelerators for the same training: with the batch (weak scaling) and without (strong scaling)."""

from collections.abc import Sequence
from typing import Any

from walltime.studies.captions import listed
from walltime.studies.fernandez2024.choices import best, fsdp, layouts
from walltime.studies.fernandez2024.drawing import GPUS_LABEL, gpu_ticks, panel, percent
from walltime.studies.fernandez2024.points import Point
from walltime.studies.fernandez2024.published import setting, value
from walltime.studies.fernandez2024.rows import complete, with_scaling
from walltime.studies.fernandez2024.setting import Setting, node_size
from walltime.studies.figure import Figure

WEAK_GPUS = tuple(2**power for power in range(3, 18))
"""8 to 2,048 as in the paper, and on to 131,072."""
LOCAL_BATCHES = (1, 2, 4)
STRONG_NODES = (1, 2, 4, 8, 16, 32, 64, 128)
PRETRAINING_NODES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
DEGREES = (1, 2, 4, 8, 16, 32)
_PAPER_GPUS = (128, 2048)


def weak(num_gpus: int, seqs_per_gpu: int | None = None, **settings: Any) -> Setting:
    """Return the setting of weak scaling: the batch grows with the accelerators."""
    local = seqs_per_gpu or setting("seqs_per_gpu")
    return Setting(num_gpus, local * num_gpus, **settings)


def strong(num_nodes: int, batch: str = "strong_batch_seqs") -> Setting:
    """Return the setting of strong scaling: the batch, the name of a setting, stays."""
    return Setting(num_nodes * node_size(weak(1)), setting(batch))


def strong_best(num_nodes: int, batch: str = "strong_batch_seqs") -> Point:
    """Return the best plan of strong scaling on some nodes: tensor and pipeline parallelism with FSDP."""
    pairs = [(tp, pp) for tp in DEGREES for pp in DEGREES]
    return best(layouts(strong(num_nodes, batch), pairs))


def weak_scaling() -> Figure:
    """FSDP alone, 8 to 131,072 H100s, at one, two and four sequences an accelerator."""
    curves = {local: [fsdp(weak(num_gpus, local)) for num_gpus in WEAK_GPUS] for local in LOCAL_BATCHES}
    named = {f"{local} sequence{'s' if local > 1 else ''} a GPU": curve for local, curve in curves.items()}
    rows = [row for name, curve in named.items() for row in with_scaling([point.row(series=name) for point in curve])]
    base, far = (fsdp(weak(num_gpus)) for num_gpus in _PAPER_GPUS)
    caption = (
        f"Llama 2 7B, {base.setting.seq_len:,} tokens a sequence, FSDP over all GPUs with resharding. From "
        f"{_PAPER_GPUS[0]} to {_PAPER_GPUS[1]:,} H100s tokens/s per GPU change by {_change(base, far, RATE)} (the "
        f"paper, by a summary: {_paper('weak-throughput')}) and the board’s power by {_change(base, far, POWER)} "
        f"({_paper('weak-power')}), at {setting('seqs_per_gpu')} sequences a GPU, which are recalled and not verified. "
        f"Communication that nothing hides takes {percent(base[EXPOSED])} of the step at {_PAPER_GPUS[0]} and "
        f"{percent(far[EXPOSED])} at {_PAPER_GPUS[1]:,}. Beyond, each doubling of the ring doubles its latency, and "
        "throughput of the whole cluster hardly grows."
    )
    panels = (
        panel("tokens/s per GPU", named, RATE),
        panel("board power [W]", named, POWER),
        panel("exposed, share of step", named, EXPOSED, percent=True),
    )
    return _figure("weak_scaling", "Weak scaling: FSDP, batch grows with the GPUs", caption, panels, rows)


RATE, POWER, EXPOSED = "tokens_per_s_per_gpu", "board_power_w", "exposed_share_of_step"


def _change(base: Point, far: Point, metric: str) -> str:
    return percent(far[metric] / base[metric] - 1, signed=True)


def _paper(name: str) -> str:
    return percent(value(name), signed=True)


def strong_scaling() -> Figure:
    """A fixed batch on ever more nodes, the best plan at each point, and FSDP alone beside it."""
    found, alone = _fixed_batch(STRONG_NODES, "strong_batch_seqs")
    two, many = found[2], found[32]
    speedup = many["tokens_per_s"] / two["tokens_per_s"]
    plans = listed(f"{_plan(point)} on {nodes}" for nodes, point in found.items() if nodes in (2, 8, 32))
    impossible = [nodes for nodes, point in alone.items() if not point.runs]
    caption = (
        f"Llama 2 7B, {two.setting.batch_seqs} sequences of {two.setting.seq_len:,} tokens a step whatever the cluster "
        "(recalled, not verified), the fastest of all tensor × pipeline × FSDP plans. From 2 to 32 nodes, 16 times "
        f"the GPUs, throughput grows {speedup:.1f}-fold; MFU falls from {percent(two['mfu'])} to "
        f"{percent(many['mfu'])} (the paper, by one summary: about 40 % to under 15 %). Best: {plans} nodes. FSDP "
        "alone needs a sequence for each GPU: not possible beyond "
        f"{max(set(STRONG_NODES) - set(impossible), default=0)} nodes."
    )
    title = "Strong scaling: a fixed batch, the best plan at each point"
    return _of_fixed_batch("strong_scaling", title, caption, found, alone)


def pretraining_scale() -> Figure:
    """A batch of the size that models are pre-trained with, on ever more nodes."""
    found, alone = _fixed_batch(PRETRAINING_NODES, "pretraining_batch_seqs")
    first, split = found[1], next(point for point in found.values() if point.plan.tp * point.plan.pp > 1)
    marked = next(point for point in found.values() if point["mfu"] < first["mfu"] / 2)
    caption = (
        f"Llama 2 7B with its own batch, {first.setting.batch_seqs:,} sequences of {first.setting.seq_len:,} tokens "
        "(Touvron et al. 2023: 4M tokens), the fastest of all tensor × pipeline × FSDP plans. A larger batch moves the "
        f"decline to more GPUs: FSDP alone is best below {split.setting.num_gpus:,}, where {_plan(split)} is, and MFU "
        f"is less than half of that on {first.setting.num_gpus} GPUs ({percent(first['mfu'])}) from "
        f"{marked.setting.num_gpus:,} on."
    )
    return _of_fixed_batch("pretraining_scale", "Pre-training scale: Llama 2’s own batch", caption, found, alone)


def _fixed_batch(num_nodes: Sequence[int], batch: str) -> tuple[dict[int, Point], dict[int, Point]]:
    """Return the best plan and FSDP alone by nodes."""
    found = {nodes: strong_best(nodes, batch) for nodes in num_nodes}
    return found, {nodes: layouts(strong(nodes, batch), [(1, 1)])[0] for nodes in num_nodes}


def _of_fixed_batch(name: str, title: str, caption: str, found: dict[int, Point], alone: dict[int, Point]) -> Figure:
    curves = {"best plan": list(found.values()), "FSDP alone": list(alone.values())}
    rows = [row for label, curve in curves.items() for row in with_scaling([one.row(series=label) for one in curve])]
    panels = (
        panel("MFU", curves, "mfu", percent=True),
        panel("tokens/s, whole cluster", curves, "tokens_per_s"),
        panel("tokens/J of the boards", curves, "tokens_per_j"),
    )
    return _figure(name, title, caption, panels, rows)


def _plan(point: Point) -> str:
    plan = point.plan
    degrees = [f"{name} {degree}" for name, degree in (("tp", plan.tp), ("pp", plan.pp)) if degree > 1]
    return " × ".join([*degrees, f"FSDP {plan.dp}"])


def _figure(name: str, title: str, caption: str, panels: Any, rows: Sequence[dict[str, Any]]) -> Figure:
    listed_gpus = sorted({row["num_gpus"] for row in rows})
    ticks = gpu_ticks(listed_gpus)
    return Figure(name, title, caption, GPUS_LABEL, "", panels, complete(rows), x_ticks=ticks)
