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
            "ring_steps": self.many.setting.ring_steps,
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


def hop_range() -> tuple[float, float]:
    """Return the ends of the estimate of what a step of a ring between nodes waits. [s]"""
    low, high = (weak(MANY, ring_steps=end).numbers().links.levels[-1].hop_s for end in ("low", "high"))
    return low, high


def hangs_on(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say within which range the headline is known, from the rows of the variants."""
    low, high = (next(row for row in rows if row["ring_steps"] == end) for end in ("low", "high"))
    ends = [end * 1e6 for end in hop_range()]
    change, gain = "tokens_per_s_per_gpu_change", "model_parallel_gain"
    return (
        f"What weak scaling loses, and that tensor or pipeline parallelism helps, hangs on the wait of a ring between "
        f"nodes, an estimate of {ends[0]:.1f} to {ends[1]:.0f} µs: within it, tokens/s per GPU from {FEW} to {MANY:,} "
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
        yield _variant(f"steps of the ring between nodes at the {end} end of their estimate", ring_steps=end)
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
