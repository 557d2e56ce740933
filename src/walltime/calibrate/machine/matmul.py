"""The matmul kernel of one machine and precision, fitted to its measured products."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from walltime.arrays import Floats
from walltime.calibrate.machine.numbers import Fitted, Prior, fit_numbers, share
from walltime.calibrate.machine.quality import Holdout, held_out
from walltime.calibrate.matmul import TILES, Device, Fit, Rows
from walltime.physics.kernels import MatmulKernel

GPU_PRIORS = {
    "max_efficiency": share(0.75, 0.5, 0.92),
    "max_hbm_fraction": share(0.75, 0.5, 0.92),
    "half_k": Prior(120.0, 40.0, 400.0),
    "tail_fraction": share(0.2, 0.02, 0.75),
    "latency_s": Prior(4e-6, 1e-6, 1.6e-5),
}
"""What the accelerators of the catalog show, and a little to either side."""
CPU_PRIORS = {
    "max_efficiency": share(0.9, 0.5, 0.99),
    "max_hbm_fraction": Prior(1.0, 0.2, 5.0),
    "half_k": Prior(16.0, 1.0, 256.0),
    "latency_s": Prior(1e-5, 1e-6, 1e-4),
}
"""Wide. Peaks and memory bandwidth of a processor are the largest that were measured, so that a product in its caches
moves bytes several times as fast."""
_SMALL_TILE = {"small_tile_cost": share(0.35, 0.26, 0.48)}
_CAST = {"cast_bytes": Prior(6.0, 1.0, 20.0)}
_WORTH_MORE = 0.9
"""Another choice of tiles is taken where it lowers the cost by a tenth."""
_TAIL_K = 8000.0
_NO_WAVES = {"tail_fraction": 0.01, "tail_k": _TAIL_K}
_CPU_TILES = ((4, 16), (16, 16), (16, 64), (32, 64), (64, 64), (128, 64), (256, 64))
"""Rows and columns that a library of matmuls may pad to on a processor, vectors of a few registers and up."""
WORD_BYTES = {"bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "fp32": 4.0, "tf32": 4.0, "fp64": 8.0}
_SAME_LATENCY = ("bf16", "fp16", "fp32", "tf32")


@dataclass(frozen=True)
class MatmulFit:
    """A fitted kernel: what it is, how sure its numbers are, and the relative error of each row, as fitted and unseen.

    Attributes
    ----------
    fit
        The kernel, and in eight bits the cast of the first factor.
    numbers
        Values and ranges of what was fitted.
    errors, errors_before, errors_held_out
        Predicted over measured less one, (rows,); before: by the catalog's numbers; None, or empty, without any.
    """

    fit: Fit
    numbers: Fitted
    errors: Floats
    errors_before: Floats | None
    errors_held_out: Floats

    @property
    def values(self) -> dict[str, float]:
        """The kernel's numbers as a catalog file has them."""
        return {name: float(f"{value:.5g}") for name, value in asdict(self.fit.kernel).items()}


@dataclass(frozen=True)
class _Shape:
    """A choice of tiles: numbers that are not fitted, and the priors of those that are."""

    fixed: Mapping[str, float]
    priors: Mapping[str, Prior]


def fit_matmul(rows: Rows, chip: Device, base: MatmulKernel | None, holdout: Holdout) -> MatmulFit:
    """Fit the kernel of one precision.

    Parameters
    ----------
    rows
        Measured products.
    chip
        Peak and bandwidth that efficiencies are shares of, and cores.
    base
        The catalog's kernel, where it has the accelerator: what rows leave open is taken from it.
    holdout
        How the errors on rows held out are found: by weight matrix, so that one is not seen at any number of tokens.
    """
    shapes = _gpu_shapes(chip, base) if base else _cpu_shapes(chip)
    found = [(shape, _fitted(rows, chip, shape)) for shape in shapes]
    shape, numbers = found[0]
    for other, tried in found[1:]:
        if tried.cost < _WORTH_MORE * numbers.cost:
            shape, numbers = other, tried
    fit = _made(shape, numbers.values)

    def unseen(seen: Any, out: Any) -> Floats:
        again = _made(shape, _fitted(rows.where(seen), chip, shape).values)
        return _errors(again, rows.where(out), chip)

    points = list(zip(rows.n.tolist(), rows.k.tolist(), strict=True))
    return MatmulFit(
        fit=fit,
        numbers=numbers,
        errors=_errors(fit, rows, chip),
        errors_before=_errors(Fit(base), rows, chip) if base else None,
        errors_held_out=held_out(points, holdout, unseen),
    )


def _gpu_shapes(chip: Device, base: MatmulKernel) -> list[_Shape]:
    """Return the tiles of the catalog's kernel, with and without a small one beside them."""
    priors = {name: prior.around(getattr(base, name)) for name, prior in GPU_PRIORS.items()}
    priors |= {} if chip.word_bytes > 1 else _CAST
    own = {name: float(value) for name, value in asdict(base).items()}
    fixed = {name: value for name, value in own.items() if name not in priors}
    with_small = {name: value for name, value in (fixed | TILES).items() if name != "small_tile_cost"}
    return [
        _Shape(fixed | {"small_tile_cost": 1.0}, priors),
        _Shape(with_small, priors | _SMALL_TILE),
    ]


def _cpu_shapes(chip: Device) -> list[_Shape]:
    """Return the tiles that a processor's library may have; one core takes them one after the other."""
    fixed = dict(_NO_WAVES) | {"num_cores": 1.0, "small_tile_cost": 1.0}
    return [
        _Shape(
            fixed | {"tile_m": m, "tile_n": n, "tile_step": n, "small_tile_m": m, "small_tile_n": n},
            CPU_PRIORS | ({} if chip.word_bytes > 1 else _CAST),
        )
        for m, n in _CPU_TILES
    ]


_WHOLE = ("tile_m", "tile_n", "tile_step", "small_tile_m", "small_tile_n", "num_cores")


def _made(shape: _Shape, values: Mapping[str, float]) -> Fit:
    numbers: dict[str, Any] = {**shape.fixed, **values}
    cast_bytes = numbers.pop("cast_bytes", 0.0)
    numbers |= {name: int(numbers[name]) for name in _WHOLE}
    return Fit(MatmulKernel(**numbers), cast_bytes)


def _fitted(rows: Rows, chip: Device, shape: _Shape) -> Fitted:
    def misses(values: Mapping[str, float]) -> Floats:
        return np.log(_made(shape, values).time_s(rows, chip) / rows.time_s)

    return fit_numbers(shape.priors, misses)


def _errors(fit: Fit, rows: Rows, chip: Device) -> Floats:
    return np.asarray(fit.time_s(rows, chip) / rows.time_s - 1)


def slower_latency(kernel: MatmulKernel, latency_s: float) -> MatmulKernel:
    """Return a kernel with another fixed time: eight-bit rows include the cast, which has one of its own. [s]"""
    return replace(kernel, latency_s=latency_s)
