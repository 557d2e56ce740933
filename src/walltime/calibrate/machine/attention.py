"""The attention kernel of one machine, forward and backward, fitted to its measured passes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from walltime.arrays import Floats, Mask
from walltime.calibrate.machine.numbers import Fitted, Prior, fit_numbers, share
from walltime.calibrate.machine.quality import Holdout, held_out
from walltime.physics.kernels import AttentionKernel, AttentionPass, attention_time_s

GPU_PRIORS = {
    "max_efficiency": share(0.55, 0.25, 0.85),
    "half_len": Prior(180.0, 60.0, 540.0),
    "small_head_dim": Prior(30.0, 8.0, 112.0),
    "idle_waves": Prior(0.8, 0.3, 2.1),
    "latency_s": Prior(5e-6, 1e-6, 2.5e-5),
}
"""What the accelerators of the catalog show, and a little to either side."""
CPU_PRIORS = {
    "max_efficiency": share(0.5, 0.05, 0.97),
    "half_len": Prior(100.0, 4.0, 2500.0),
    "small_head_dim": Prior(10.0, 1.0, 100.0),
    "latency_s": Prior(3e-5, 1e-6, 1e-3),
}
"""Wide: a processor's kernel may miss its causal blocks, its vectors, or both. It has no waves."""
_SAME_WIDTH = 1e-6
_CPU_KERNEL = AttentionKernel(
    forward=AttentionPass(0.5, 100.0, 10.0, 1.0, 0.0),
    backward=AttentionPass(0.5, 100.0, 10.0, 1.0, 0.0),
    full_head_dim=128,
    block_len=32,
    num_cores=1,
    latency_s=3e-5,
)
"""Where the fit of a processor starts: one core takes blocks of some queries one after the other."""


@dataclass(frozen=True)
class AttentionRows:
    """Measured passes of attention, one an element.

    Attributes
    ----------
    num_heads, q_len, head_dim, value_dim : (rows,)
        Query heads times sequences; queries (and keys) of a sequence; widths of a head.
    causal : (rows,)
        Whether a query sees only the keys up to itself.
    time_s : (rows,)
        Of the pass. [s]
    """

    num_heads: Floats
    q_len: Floats
    head_dim: Floats
    value_dim: Floats
    causal: Mask
    time_s: Floats

    def __len__(self) -> int:
        return len(self.time_s)

    def where(self, mask: Mask) -> "AttentionRows":
        """Return the rows of a mask."""
        return AttentionRows(*(getattr(self, name)[mask] for name in self.__dataclass_fields__))

    def times_s(self, kernel: AttentionKernel, peak_flop_per_s: float, *, backward: bool) -> Floats:
        """Return the predicted time of each row. [s]"""
        rows = self.num_heads, self.q_len, self.q_len
        dims = self.head_dim, self.value_dim
        masked, full = (
            attention_time_s(*rows, kernel, peak_flop_per_s, *dims, causal=causal, backward=backward)
            for causal in (True, False)
        )
        return np.where(self.causal, masked, full)


@dataclass(frozen=True)
class PassFit:
    """One pass: its numbers, the time that it takes to start, and the relative error of each row, seen and unseen."""

    values: dict[str, float]
    latency_s: float
    numbers: Fitted
    errors: Floats
    errors_before: Floats | None
    errors_held_out: Floats


def fit_pass(
    rows: AttentionRows, peak_flop_per_s: float, base: AttentionKernel | None, holdout: Holdout, *, backward: bool
) -> PassFit:
    """Fit one pass of a machine's attention.

    Parameters
    ----------
    rows
        Measured.
    peak_flop_per_s
        That efficiencies are shares of. [FLOP/s]
    base
        The catalog's kernel, where it has the accelerator.
    holdout
        How errors on rows held out are found, by shape.
    backward
        Whether it is the backward pass.
    """
    start = base or _CPU_KERNEL
    priors = _priors(rows, base, backward)

    def made(values: Mapping[str, float]) -> AttentionKernel:
        changed: dict[str, Any] = {name: value for name, value in values.items() if name != "latency_s"}
        part = replace(start.backward if backward else start.forward, **changed)
        one = {"backward" if backward else "forward": part, "latency_s": values["latency_s"]}
        return replace(start, **one)

    def fitted(some: AttentionRows) -> Fitted:
        def misses(values: Mapping[str, float]) -> Floats:
            return np.log(some.times_s(made(values), peak_flop_per_s, backward=backward) / some.time_s)

        return fit_numbers(priors, misses)

    def errors(kernel: AttentionKernel, some: AttentionRows) -> Floats:
        return np.asarray(some.times_s(kernel, peak_flop_per_s, backward=backward) / some.time_s - 1)

    numbers = fitted(rows)
    kernel = made(numbers.values)
    part = kernel.backward if backward else kernel.forward
    points = list(zip(*(column.tolist() for column in (rows.num_heads, rows.q_len, rows.head_dim)), strict=True))
    return PassFit(
        values={name: float(f"{value:.5g}") for name, value in vars(part).items()},
        latency_s=kernel.latency_s,
        numbers=numbers,
        errors=errors(kernel, rows),
        errors_before=errors(base, rows) if base else None,
        errors_held_out=held_out(
            points, holdout, lambda seen, out: errors(made(fitted(rows.where(seen)).values), rows.where(out))
        ),
    )


def _priors(rows: AttentionRows, base: AttentionKernel | None, backward: bool) -> dict[str, Prior]:
    """Return what is fitted: what narrow heads cost only where there are heads of several widths."""
    usual = GPU_PRIORS if base else CPU_PRIORS
    own = vars(base.backward if backward else base.forward) | {"latency_s": base.latency_s} if base else {}
    priors = {name: prior.around(own[name]) if own.get(name) else prior for name, prior in usual.items()}
    if np.ptp(rows.head_dim) < _SAME_WIDTH:
        del priors["small_head_dim"]
    return priors


def start_kernel(base: AttentionKernel | None) -> AttentionKernel:
    """Return the kernel whose tiles a fit keeps."""
    return base or _CPU_KERNEL
