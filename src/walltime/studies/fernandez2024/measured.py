"""What others measured of FSDP from one node to sixteen: torchtitan's Llama 3.1 8B."""

import functools

from walltime.studies.fernandez2024.choices import fsdp
from walltime.studies.fernandez2024.drawing import percent
from walltime.studies.fernandez2024.points import Point
from walltime.studies.fernandez2024.rows import complete, with_scaling
from walltime.studies.fernandez2024.setting import Setting
from walltime.studies.figure import Figure, Panel, Series
from walltime.validate.cases import Case, case_of
from walltime.validate.measured import core_rows

_SOURCE, _MODEL, _SEQ_LEN = "torchtitan", "Llama-3.1-8B", 8192
_CLUSTER, _ACCELERATOR = "grand-teton-h100", "h100-96gb"
SIZES = (8, 16, 32, 64, 128)


@functools.cache
def torchtitan_rows() -> dict[int, Case]:
    """Return the published runs without compilation and in bf16, by number of accelerators."""
    rows = (row for row in core_rows() if (row.source_id, row.model_name, row.seq_len) == (_SOURCE, _MODEL, _SEQ_LEN))
    cases = (case for row in rows if isinstance(case := case_of(row), Case))
    plain = (case for case in cases if case.plan.precision == "bf16" and not case.features.get("compiled"))
    plain = (case for case in plain if case.machine.accelerator == _ACCELERATOR)
    return {case.num_gpus: case for case in plain}


def torchtitan_point(num_gpus: int) -> Point:
    """Return the same training on some accelerators as torchtitan ran it, predicted."""
    case = next(iter(torchtitan_rows().values()))
    asked = Setting(
        num_gpus,
        case.training.batch_seqs // case.num_gpus * num_gpus,
        cluster=_CLUSTER,
        model="llama-3.1-8b",
        seq_len=_SEQ_LEN,
        stack=case.stack,
    )
    return fsdp(asked, recompute=case.plan.recompute)


def measured_tokens_per_s_per_gpu(num_gpus: int) -> float:
    """Return what torchtitan published. [tokens/s]"""
    case = torchtitan_rows()[num_gpus]
    assert case.step_time_s is not None
    return case.training.batch_tokens / case.step_time_s / num_gpus


def torchtitan() -> Figure:
    """Llama 3.1 8B with FSDP on 8 to 128 H100s, published and ours."""
    points = [torchtitan_point(num_gpus) for num_gpus in SIZES]
    known = {num_gpus: measured_tokens_per_s_per_gpu(num_gpus) for num_gpus in torchtitan_rows()}
    rows = with_scaling(
        [
            point.row(series="walltime") | {"measured_tokens_per_s_per_gpu": known.get(point.setting.num_gpus)}
            for point in points
        ]
    )
    ours = tuple(point["tokens_per_s_per_gpu"] for point in points)
    series = (
        Series("walltime", tuple(map(float, SIZES)), ours),
        Series("torchtitan, published", tuple(map(float, known)), tuple(known.values()), line=False),
    )
    few, many = min(known), max(known)
    caption = (
        f"Llama 3.1 8B, {_SEQ_LEN:,} tokens, 2 sequences a GPU, bf16, selective recomputation, H100s of 96 GB limited "
        f"to 500 W. Published: {known[few]:,.0f} tokens/s per GPU on {few} and {known[many]:,.0f} on {many}, "
        f"{percent(known[many] / known[few] - 1, signed=True)}; ours {ours[0]:,.0f} and {ours[-1]:,.0f}, "
        f"{percent(ours[-1] / ours[0] - 1, signed=True)}. Little is lost up to 128 H100s: layers compute for longer "
        "than the ring takes."
    )
    return Figure(
        "torchtitan",
        "Little loss up to 128 H100s: torchtitan’s Llama 3.1 8B",
        caption,
        "GPUs",
        "tokens/s per GPU",
        (Panel("", series),),
        complete(rows),
        x_ticks=tuple((float(size), str(size)) for size in SIZES),
        y_limits=(0, 7000),
    )
