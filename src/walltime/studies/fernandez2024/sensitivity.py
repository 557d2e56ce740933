"""How much the headline of weak scaling hangs on what is not known of the paper's runs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from walltime.studies.fernandez2024.choices import best, fsdp, layouts
from walltime.studies.fernandez2024.drawing import percent
from walltime.studies.fernandez2024.points import Point
from walltime.studies.fernandez2024.scaling import weak
from walltime.studies.fernandez2024.setting import FEW, MANY

_MODERATE = ((2, 1), (4, 1), (1, 2), (1, 4), (2, 2))


@dataclass(frozen=True)
class Variant:
    """The weak scaling of the study with something changed.

    Attributes
    ----------
    name
        What is changed, in words.
    few, many
        FSDP alone on 128 and on 2,048 accelerators.
    moderate
        The fastest plan on 2,048 with a tensor × pipeline degree of 2 to 4.
    """

    name: str
    few: Point
    many: Point
    moderate: Point

    def row(self) -> dict[str, Any]:
        """Return how throughput, power and energy change, and what model parallelism brings."""
        return {
            "variant": self.name,
            "ring_inside": self.many.setting.ring_inside,
            "ring_between": self.many.setting.ring_between,
            "base_num_gpus": FEW,
            "num_gpus": MANY,
            "tokens_per_s_per_gpu_change": self._change(self.few, self.many, "tokens_per_s_per_gpu"),
            "board_power_change": self._change(self.few, self.many, "board_power_w"),
            "tokens_per_j_change": self._change(self.few, self.many, "tokens_per_j"),
            "model_parallel_gain": self._change(self.many, self.moderate, "tokens_per_s"),
            "model_parallel_plan": str(self.moderate.plan) if self.moderate.runs else "",
            "status": next((point.status for point in (self.few, self.many) if not point.runs), self.many.status),
        }

    @staticmethod
    def _change(before: Point, after: Point, metric: str) -> float | None:
        return after[metric] / before[metric] - 1 if before.runs and after.runs else None


def ring_waits() -> str:
    """Return what a step of the ring waits inside nodes and between them, each with its range, in words."""
    low, high = (weak(MANY, ring_inside=end, ring_between=end).numbers().links.levels[-2:] for end in ("low", "high"))
    inside, between = ([level.relay_s for level in (low[0], high[0])], [level.hop_s for level in (low[1], high[1])])
    return (
        f"{inside[0] * 1e6:.1f} to {inside[1] * 1e6:.1f} µs inside nodes and {between[0] * 1e6:.1f} to "
        f"{between[1] * 1e6:.0f} between them"
    )


def hangs_on(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say within which range the headline is known, from the rows of the variants."""
    ends = [(end, end) for end in ("low", "high")]
    low, high = (next(row for row in rows if (row["ring_inside"], row["ring_between"]) == end) for end in ends)
    change, gain = "tokens_per_s_per_gpu_change", "model_parallel_gain"
    return (
        f"What weak scaling loses, and that tensor or pipeline parallelism helps, hangs on what a step of the ring "
        f"waits, an estimate of {ring_waits()}: within it, tokens/s per GPU from {FEW} to {MANY:,} "
        f"GPUs change by {percent(low[change], signed=True)} to {percent(high[change], signed=True)}, and a degree of "
        f"2 to 4 brings {percent(low[gain], signed=True)} to {percent(high[gain], signed=True)}. It hangs on the batch "
        "and the length as well, which are recalled and were not read."
    )


def variants() -> Iterator[Variant]:
    """Yield the study's own setting first, then one change each."""
    base = weak(1).batch_seqs
    yield _variant(f"as in the study: {base} sequences a GPU, FSDP1, resharding")
    for local in (1, 4):
        yield _variant(f"{local} sequence{'s' if local > 1 else ''} a GPU", local)
    for end in ("low", "high"):
        yield _variant(f"steps of the ring at the {end} end of their estimates", ring_inside=end, ring_between=end)
    for end in ("low", "high"):
        yield _variant(f"the same only inside nodes, {end}", ring_inside=end)
        yield _variant(f"the same only between nodes, {end}", ring_between=end)
    for end in ("low", "high"):
        yield _variant(f"share of communication that FSDP1 hides at the {end} end of its fit", overlap=end)
    yield _variant("software of 2024 with other kernels: torchtitan", stack="torchtitan")
    yield _variant("parameters kept after the forward pass", reshard=False)
    for seq_len in (2048, 8192):
        yield _variant(f"{seq_len:,} tokens a sequence", seq_len=seq_len)


def _variant(name: str, local: int | None = None, *, reshard: bool = True, **settings: Any) -> Variant:
    few, many = (weak(size, local, **settings) for size in (FEW, MANY))
    moderate = best(layouts(many, _MODERATE, reshard=reshard))
    return Variant(name, fsdp(few, reshard=reshard), fsdp(many, reshard=reshard), moderate)
