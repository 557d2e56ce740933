"""The attention kernel of one machine, forward and backward, fitted to its measured passes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from walltime.arrays import Floats, Mask
from walltime.calibrate.machine.numbers import Prior, share
from walltime.calibrate.machine.quality import Holdout, RowsFit, fit_rows
from walltime.catalog.fitted import FittedBlock
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
    """One pass: its numbers, the time that it takes to start [s], and the errors of its rows."""

    values: dict[str, float]
    latency_s: float
    fit: RowsFit


def fit_pass(
    rows: AttentionRows,
    peak_flop_per_s: float,
    base: AttentionKernel | None,
    holdout: Holdout,
    name: str,
    latency_s: float | None = None,
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
    name
        ``forward`` or ``backward``.
    latency_s
        From launch to first result, where the other pass has decided it. [s]
    """
    start, backward = base or _CPU_KERNEL, name == "backward"
    priors = _priors(rows, base, name)
    if latency_s is not None:
        start = replace(start, latency_s=latency_s)
        del priors["latency_s"]

    def made(values: Mapping[str, float]) -> AttentionKernel:
        own: dict[str, Any] = {key: value for key, value in values.items() if key != "latency_s"}
        changed: dict[str, Any] = {name: replace(getattr(start, name), **own)}
        return replace(start, latency_s=values.get("latency_s", start.latency_s), **changed)

    def times_s(kernel: AttentionKernel) -> Floats:
        return rows.times_s(kernel, peak_flop_per_s, backward=backward)

    points = list(zip(rows.num_heads.tolist(), rows.q_len.tolist(), rows.head_dim.tolist(), strict=True))
    before = times_s(base) if base else None
    fit = fit_rows(priors, lambda values: times_s(made(values)), rows.time_s, points, holdout, before)
    kernel = made(fit.numbers.values)
    return PassFit(dict(vars(getattr(kernel, name))), kernel.latency_s, fit)


def _priors(rows: AttentionRows, base: AttentionKernel | None, name: str) -> dict[str, Prior]:
    """Return what is fitted: what narrow heads cost only where there are heads of several widths."""
    usual = GPU_PRIORS if base else CPU_PRIORS
    own = vars(getattr(base, name)) | {"latency_s": base.latency_s} if base else {}
    priors = {key: prior.around(own[key]) if own.get(key) else prior for key, prior in usual.items()}
    if np.ptp(rows.head_dim) < _SAME_WIDTH:
        del priors["small_head_dim"]
    return priors


def start_kernel(base: AttentionKernel | None) -> AttentionKernel:
    """Return the kernel whose tiles a fit keeps."""
    return base or _CPU_KERNEL


def unfitted_pass(name: str) -> FittedBlock:
    """Return a processor's pass of which no row was measured: where its fit would start, and how far that may be off.

    Parameters
    ----------
    name
        ``forward`` or ``backward``.
    """
    values = vars(getattr(_CPU_KERNEL, name))
    ranges = {key: prior for key, prior in CPU_PRIORS.items() if key in values}
    return FittedBlock(
        kind="estimate",
        values=dict(values),
        note="Attention was not measured: a wide guess. `walltime measure gemm --what attention` measures it.",
        estimated=list(values),
        low={key: prior.low for key, prior in ranges.items()},
        high={key: prior.high for key, prior in ranges.items()},
    )
