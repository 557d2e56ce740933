"""The same workload on accelerators of other generations."""

from typing import Any

from walltime.hardware import cluster
from walltime.studies.captions import listed
from walltime.studies.fernandez2024.choices import fsdp_that_fits
from walltime.studies.fernandez2024.drawing import panel, percent
from walltime.studies.fernandez2024.points import Point
from walltime.studies.fernandez2024.published import value
from walltime.studies.fernandez2024.rows import complete, with_scaling_of
from walltime.studies.fernandez2024.scaling import weak
from walltime.studies.fernandez2024.setting import FEW, MANY
from walltime.studies.figure import Figure

MEASURED: dict[str, str] = {"V100": "v100-sxm-32gb", "A100": "a100-sxm-80gb", "H100": "h100-sxm"}
FORECAST: dict[str, str] = {"H200": "h200", "B200": "b200", "GB200 NVL72": "gb200-nvl72"}
"""Not in the paper: younger than it."""
SIZES = (8, FEW, MANY)
_WITHOUT_FLASH = {"v100-sxm-32gb": {"precision": "fp16", "attention": "fused-softmax"}}


def generation(name: str, num_gpus: int) -> Point:
    """Return the workload on accelerators of a generation: with full recomputation where memory asks for it."""
    chips = MEASURED | FORECAST
    choices: dict[str, Any] = _WITHOUT_FLASH.get(chips[name], {})
    return fsdp_that_fits(weak(num_gpus, cluster=chips[name], **choices))


def generations() -> Figure:
    """MFU, throughput and energy of a generation, V100 to GB200 NVL72."""
    names = [*MEASURED, *FORECAST]
    curves = {f"{size:,} GPUs": [generation(name, size) for name in names] for size in SIZES}
    at = {label: [float(place) for place in range(len(names))] for label in curves}
    rows = [
        point.row(series=label, generation=name, forecast=name in FORECAST)
        | {"peak_flop_per_s": cluster(point.setting.cluster).accelerator.peak_flop_per_s}
        for label, curve in curves.items()
        for name, point in zip(names, curve, strict=True)
    ]
    hollow = [float(names.index(name)) for name in FORECAST]
    panels = (
        panel("MFU", curves, "mfu", percent=True, x=at, line=False, hollow=hollow),
        panel("tokens/s per GPU", curves, "tokens_per_s_per_gpu", x=at, line=False, hollow=hollow),
        panel("tokens/J of the boards", curves, "tokens_per_j", x=at, line=False, hollow=hollow),
    )
    ticks = tuple((float(place), name.replace(" ", "\n")) for place, name in enumerate(names))
    return Figure(
        "generations",
        "Generations of accelerators, the same workload",
        _caption(),
        "hollow: forecast",
        "",
        panels,
        complete(with_scaling_of(rows, "generation")),
        x_log=False,
        x_limits=(-0.5, len(names) - 0.5),
        x_ticks=ticks,
    )


def _caption() -> str:
    ours = {name: generation(name, SIZES[0]) for name in ("A100", "H100")}
    far = {name: generation(name, SIZES[-1]) for name in MEASURED | FORECAST}
    paper = [percent(value(name)) for name in ("generation-a100", "generation-h100")]
    ratio = ours["H100"]["tflop_per_s_per_gpu"] / ours["A100"]["tflop_per_s_per_gpu"]
    recomputing = [name for name, point in far.items() if point.plan.recompute == "full"]
    said = (
        f"Llama 2 7B with FSDP at the same sequences a GPU. On {SIZES[0]} GPUs an A100 reaches "
        f"{percent(ours['A100']['mfu'])} of its peak and an H100 {percent(ours['H100']['mfu'])} (the paper, by a "
        f"summary and for an unknown workload: {paper[0]} and {paper[1]}): {ratio:.2f} times the FLOP/s, less than its "
        f"peak promises, for memory and network have grown by less. On {SIZES[-1]:,} GPUs: "
        + listed(f"{name} {percent(point['mfu'])}" for name, point in far.items() if point.runs)
    )
    said += f". {listed(FORECAST)} are younger than the paper: a forecast, hollow in the chart"
    return said + (f". {listed(recomputing)} needs full recomputation, for memory." if recomputing else ".")
