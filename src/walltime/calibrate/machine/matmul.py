"""The matmul kernel of one machine and precision, fitted to its measured products."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from walltime.arrays import Floats
from walltime.calibrate.machine.numbers import Fitted, Prior, fit_numbers, share
from walltime.calibrate.machine.quality import Holdout, RowsFit, fit_rows
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
_WORTH_A_NUMBER = 1 / 0.9
"""A choice of tiles with one more number is taken where it lowers the cost by a tenth."""
_TAIL_K = 8000.0
_NO_WAVES = {"tail_fraction": 0.01, "tail_k": _TAIL_K}
_CPU_TILES = ((4, 16), (16, 16), (16, 64), (32, 64), (64, 64), (128, 64), (256, 64))
"""Rows and columns that a library of matmuls may pad to on a processor, vectors of a few registers and up."""


@dataclass(frozen=True)
class MatmulFit:
    """A fitted kernel.

    Attributes
    ----------
    kernel, cast_bytes
        What it is, and in eight bits what the cast of a number of the first factor moves. [B]
    fit
        The numbers that were fitted, and the errors of the rows.
    """

    kernel: MatmulKernel
    cast_bytes: float
    fit: RowsFit


@dataclass(frozen=True)
class _Shape:
    """A choice of tiles: numbers that are not fitted, and the priors of those that are."""

    fixed: Mapping[str, float]
    priors: Mapping[str, Prior]


def fit_matmul(
    rows: Rows,
    chip: Device,
    base: MatmulKernel | None,
    holdout: Holdout,
    *,
    is_known: bool = True,
    with_cast: bool = False,
) -> MatmulFit:
    """Fit the kernel of one precision.

    Parameters
    ----------
    rows
        Measured products.
    chip
        Peak and bandwidth that efficiencies are shares of, and cores.
    base
        The catalog's kernel of the accelerator, or of its nearest precision: what rows leave open is taken from it.
    holdout
        How the errors on rows held out are found: by weight matrix, so that one is not seen at any number of tokens.
    is_known
        Whether the catalog's kernel is of this precision, so that it has errors of its own.
    with_cast
        Whether eight-bit rows include the cast of the first factor.
    """
    cast = _CAST if with_cast and chip.word_bytes == 1 else {}
    shapes = [_Shape(each.fixed, {**each.priors, **cast}) for each in (_gpu_shapes(base) if base else _cpu_shapes())]
    costs = [_fitted(rows, chip, shape).cost * _WORTH_A_NUMBER ** len(shape.priors) for shape in shapes]
    shape = shapes[int(np.argmin(costs))]
    points = list(zip(rows.n.tolist(), rows.k.tolist(), strict=True))
    before = Fit(base).time_s(rows, chip) if base and is_known else None
    fit = fit_rows(
        shape.priors, lambda values: _made(shape, values).time_s(rows, chip), rows.time_s, points, holdout, before
    )
    return MatmulFit(*_made(shape, fit.numbers.values)[:2], fit)


def _gpu_shapes(base: MatmulKernel) -> list[_Shape]:
    """Return the tiles of the catalog's kernel, with and without a small one beside them."""
    priors = {name: prior.around(getattr(base, name)) for name, prior in GPU_PRIORS.items()}
    own = {name: float(value) for name, value in asdict(base).items()}
    fixed = {name: value for name, value in own.items() if name not in priors}
    with_small = {name: value for name, value in (fixed | TILES).items() if name != "small_tile_cost"}
    return [
        _Shape(fixed | {"small_tile_cost": 1.0}, priors),
        _Shape(with_small, priors | _SMALL_TILE),
    ]


def _cpu_shapes() -> list[_Shape]:
    """Return the tiles that a processor's library may have; one core takes them one after the other."""
    fixed = dict(_NO_WAVES) | {"num_cores": 1.0, "small_tile_cost": 1.0}
    return [
        _Shape(
            fixed | {"tile_m": m, "tile_n": n, "tile_step": n, "small_tile_m": m, "small_tile_n": n},
            CPU_PRIORS,
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
