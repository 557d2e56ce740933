"""Other models and longer sequences."""

from collections.abc import Sequence
from typing import Any

from walltime.studies.captions import listed
from walltime.studies.fernandez2024.choices import best, fsdp_that_fits, layouts
from walltime.studies.fernandez2024.drawing import panel, percent
from walltime.studies.fernandez2024.points import Point
from walltime.studies.fernandez2024.published import setting
from walltime.studies.fernandez2024.rows import complete, with_scaling_of
from walltime.studies.fernandez2024.scaling import BEST
from walltime.studies.fernandez2024.setting import FEW, MANY, Setting
from walltime.studies.figure import Figure
from walltime.workload.catalog import transformer
from walltime.workload.parameters import num_parameters

MODELS: dict[str, str] = {
    "1B": "llama-3.2-1b",
    "7B": "llama-2-7b",
    "13B": "llama-2-13b",
    "70B": "llama-2-70b",
    "405B": "llama-3.1-405b",
}
"""The paper's 1B model is not published: Llama 3.2 1B stands for it, with its larger vocabulary."""
SIZES = (256, MANY)
CONTEXTS = tuple(2**power for power in range(11, 18))
CONTEXT_GPUS = (FEW, MANY)
_DEGREES, _RECOMPUTES = (1, 2, 4, 8, 16), ("none", "full")


def model_best(size: str, num_gpus: int, seqs_per_gpu: int | None = None) -> Point:
    """Return the best of tensor × pipeline × FSDP for a model, at the study's sequences a GPU or as many as given."""
    asked = Setting(num_gpus, (seqs_per_gpu or setting("seqs_per_gpu")) * num_gpus, model=MODELS[size])
    pairs = [(tp, pp) for tp in _DEGREES for pp in _DEGREES]
    return best(layouts(asked, pairs, recomputes=_RECOMPUTES))


def model_fsdp(size: str, num_gpus: int) -> Point:
    """Return FSDP alone for a model."""
    return fsdp_that_fits(Setting(num_gpus, setting("seqs_per_gpu") * num_gpus, model=MODELS[size]))


def model_sizes() -> Figure:
    """Models of 1B to 405B on 256 and 2,048 H100s, the best of tensor × pipeline × FSDP and FSDP alone."""
    curves: dict[str, list[Point]] = {}
    for num_gpus in SIZES:
        curves[f"{BEST}, {num_gpus:,} GPUs"] = [model_best(size, num_gpus) for size in MODELS]
        curves[f"FSDP alone, {num_gpus:,} GPUs"] = [model_fsdp(size, num_gpus) for size in MODELS]
    at = {name: [num_parameters(transformer(model)) for model in MODELS.values()] for name in curves}
    rows = [
        point.row(series=name, size=size) | {"num_parameters": num_parameters(transformer(MODELS[size]))}
        for name, curve in curves.items()
        for size, point in zip(MODELS, curve, strict=True)
    ]
    panels = (
        panel("MFU", curves, "mfu", percent=True, x=at),
        panel("exposed, share of step", curves, "exposed_share_of_step", percent=True, x=at),
        panel("board power [W]", curves, "board_power_w", x=at),
    )
    ticks = tuple((float(num_parameters(transformer(model))), size) for size, model in MODELS.items())
    return Figure(
        "model_sizes",
        "Model sizes, 1B to 405B",
        _sizes_caption(curves),
        "parameters",
        "",
        panels,
        complete(with_scaling_of(rows, "size")),
        x_ticks=ticks,
    )


def _sizes_caption(curves: dict[str, list[Point]]) -> str:
    said = f"{setting('seqs_per_gpu')} sequences of {setting('seq_len'):,} tokens a GPU, H100s. The best of {BEST} "
    said += "has full recomputation where memory asks for it or it is faster. "
    for num_gpus in SIZES:
        found = dict(zip(MODELS, curves[f"{BEST}, {num_gpus:,} GPUs"], strict=True))
        reached = listed(f"{size} {percent(point['mfu'])}" for size, point in found.items() if point.runs)
        said += f"MFU on {num_gpus:,} GPUs: {reached}. "
    lost = [
        f"{size} on {name}"
        for name, curve in curves.items()
        for size, p in zip(MODELS, curve, strict=True)
        if not p.runs
    ]
    said += (
        "A larger model computes more for each byte that it gathers, and hides more; it also needs recomputation or "
    )
    said += "model parallelism for its memory. The 1B model is Llama 3.2 1B, the 405B one Llama 3.1’s."
    return said + (f" Does not fit: {listed(lost)}." if lost else "")


def context_fsdp(seq_len: int, num_gpus: int) -> Point:
    """Return FSDP alone at one sequence a GPU, with full recomputation where memory asks for it."""
    return fsdp_that_fits(Setting(num_gpus, num_gpus, seq_len=seq_len))


def local_tokens() -> int:
    """Tokens of a GPU and step in weak scaling."""
    return setting("seqs_per_gpu") * setting("seq_len")


def context_best(seq_len: int, num_gpus: int) -> Point:
    """Return the best of tensor × pipeline × context × FSDP, at as many tokens a step whatever the length."""
    asked = Setting(num_gpus, max(local_tokens() * num_gpus // seq_len, 1), seq_len=seq_len)
    degrees = [(tp, pp, cp) for tp in (1, 2, 4, 8) for pp in (1, 2, 4) for cp in (1, 2, 4, 8, 16)]
    return best(layouts(asked, degrees, recomputes=_RECOMPUTES))


def context_lengths() -> Figure:
    """Sequences of 2k to 128k tokens: one a GPU with FSDP alone, as many tokens a step with other plans."""
    curves: dict[str, Sequence[Point]] = {}
    for num_gpus in CONTEXT_GPUS:
        alone = f"FSDP alone, one sequence a GPU, {num_gpus:,} GPUs"
        split = f"tp × pp × cp × FSDP, {local_tokens():,} tokens a GPU, {num_gpus:,} GPUs"
        curves[alone] = [context_fsdp(length, num_gpus) for length in CONTEXTS]
        curves[split] = [context_best(length, num_gpus) for length in CONTEXTS]
    at: dict[str, list[float]] = {name: [float(length) for length in CONTEXTS] for name in curves}
    rows: list[dict[str, Any]] = [point.row(series=name) for name, curve in curves.items() for point in curve]
    panels = (
        panel("MFU", curves, "mfu", percent=True, x=at),
        panel("exposed, share of step", curves, "exposed_share_of_step", percent=True, x=at),
        panel("tokens/s per GPU", curves, "tokens_per_s_per_gpu", x=at),
    )
    ticks = tuple((float(length), f"{length // 1024}k") for length in CONTEXTS[::2])
    return Figure(
        "context_lengths",
        "Context lengths, 2k to 128k",
        _contexts_caption(),
        "tokens of a sequence",
        "",
        panels,
        complete(with_scaling_of(rows, "seq_len")),
        x_ticks=ticks,
    )


def _contexts_caption() -> str:
    far = CONTEXT_GPUS[-1]
    alone = {length: context_fsdp(length, far) for length in CONTEXTS}
    shares = listed(
        f"{percent(point['exposed_share_of_step'])} at {length // 1024}k"
        for length, point in alone.items()
        if point.runs
    )
    lost = [f"{length // 1024}k" for length, point in alone.items() if not point.runs]
    said = "Llama 2 7B on H100s. FSDP alone trains one sequence a GPU: the longer it is, the more there is to compute "
    said += f"beside the same gathers and scatters. On {far:,} GPUs what is exposed takes {shares}. "
    if lost:
        said += f"At {listed(lost)} the activations do not fit, even recomputed. "
    return (
        said + f"So it trains ever more tokens a step; the other curves, the fastest of tensor × pipeline × context × "
        f"FSDP, train {local_tokens():,} a GPU at every length, and split sequences for it (ring attention): where "
        "FSDP alone lies above, its step is larger."
    )
