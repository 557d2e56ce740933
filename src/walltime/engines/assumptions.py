"""Every modelling choice that is not hardware, workload or plan, with its default."""

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from walltime.problems import BadInput, unknown

ClusterChoice = Literal["smallest", "most_efficient"]

FIXES = {
    "zero_bubble_latency_order": "1: network latency counts in zero-bubble pipelines",
    "finer_cluster_grid": "2: cluster sizes between powers of two",
    "v100_register_capacity": "3: registers of all SMs count against L2",
    "residency_counts_all_matrices": "4: all matrices of an accelerator must fit to stay resident",
}
"""The defects of the published program that can be mended one by one; docs: not modelled."""


@dataclass(frozen=True)
class Assumptions:
    """How the model of Erdil & Schneider-Joseph (2024) is read.

    Attributes
    ----------
    zero_bubble_latency_order
        Fix 1. As published, a zero-bubble pipeline drops its network latency; mended, it is hidden only as far as
        arithmetic or bandwidth takes longer.
    finer_cluster_grid
        Fix 2. As published, clusters have sparsity x 2^i accelerators and a curve takes the first that meets the
        deadline. Mended, sizes in between are tried too.
    v100_register_capacity
        Fix 3. As published, L2 is compared with the registers of one SM; mended, with those of all.
    residency_counts_all_matrices
        Fix 4. As published, one weight matrix that fits a memory stays there; mended, all that share it must fit.
    cluster_choice
        Of the clusters that meet a deadline, the ``smallest`` (as published) or the ``most_efficient``, whose
        accelerator-seconds are fewest (corrected). Only the latter is monotone: if every plan gets slower, the
        smallest cluster can be another one that happens to divide better, and utilisation can rise; the best
        utilisation of all cannot.
    overlap_tp, overlap_pp, overlap_dp
        Share of tensor-, pipeline- and data-parallel communication that compute hides, 0 to 1 (data: 0 or 1).
    """

    zero_bubble_latency_order: bool = False
    finer_cluster_grid: bool = False
    v100_register_capacity: bool = False
    residency_counts_all_matrices: bool = False
    cluster_choice: ClusterChoice = "smallest"
    overlap_tp: float = 1.0
    overlap_pp: float = 1.0
    overlap_dp: float = 0.0

    def __post_init__(self) -> None:
        """Refuse overlaps outside 0 to 1 and unknown choices."""
        if self.cluster_choice not in get_args(ClusterChoice):
            raise unknown("cluster choice", self.cluster_choice, get_args(ClusterChoice))
        for name in ("overlap_tp", "overlap_pp", "overlap_dp"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"{name}={getattr(self, name)!r} must be between 0 and 1.")
        if self.overlap_dp not in (0, 1):
            raise BadInput(f"overlap_dp={self.overlap_dp!r} must be 0 or 1.")

    @classmethod
    def named(cls, name: str) -> "Assumptions":
        """Return ``as_published`` or ``corrected`` (all four fixes, the most efficient cluster)."""
        if name == "as_published":
            return cls()
        if name == "corrected":
            return cls(**dict.fromkeys(FIXES, True), cluster_choice="most_efficient")
        raise unknown("assumptions", name, ("as_published", "corrected"))

    def with_fix(self, name: str) -> "Assumptions":
        """Return the same with one defect mended, ``head`` for none."""
        if name == "head":
            return self
        if name not in FIXES:
            raise unknown("fix", name, [*FIXES, "head"])
        mended: Any = {name: True}
        return replace(self, **mended)

    @property
    def is_corrected(self) -> bool:
        """Whether all four defects are mended."""
        return all(getattr(self, name) for name in FIXES)

    def differences(self) -> dict[str, object]:
        """What differs from ``as_published``."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
