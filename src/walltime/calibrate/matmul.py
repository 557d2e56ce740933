"""Fit the matmul kernel of each accelerator on measured matmuls.

Least squares in the logarithm of time, with a loss that is linear beyond 5 %, so that shapes for which a library
picks an odd kernel do not pull. Errors are given on the rows fitted and on rows held out: three folds by (n, k), so
that a held-out weight matrix was not seen at any number of tokens, and one accelerator by the shape parameters of the
others.

Rows measured in eight bits include the cast of the first factor; its cost is fitted beside the kernel and kept apart.
"""

import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from walltime.arrays import Floats, Indices, Mask
from walltime.catalog import DATASHEET, AcceleratorRecord, parameter_set
from walltime.physics.kernels import MatmulKernel, grouped_matmul_time_s, matmul_time_s
from walltime.problems import BadInput

ACCELERATORS = {
    "A100-SXM4-80GB": "a100-sxm-80gb",
    "H100-SXM-80GB": "h100-sxm",
    "H200-SXM-141GB": "h200",
    "B200-SXM": "b200",
    "GB200": "gb200",
    "A100-PCIe-80GB": "a100-pcie-80gb",
    "B200": "b200",
}
FITTED_SOURCE = "aiconfigurator_gemm"
SECOND_SOURCE = "simumax_gemm"
KIN = {"a100-pcie-80gb": "a100-sxm-80gb", "b200": "b200"}  # whose kernel the second source is compared with
GROUPED = {"grouped_slowdown": "grouped_gemm", "grouped_gradient_slowdown": "grouped_gemm of weight gradients"}
WORD_BYTES = {"bf16": 2.0, "fp16": 2.0, "fp8": 1.0}
NUM_FOLDS = 3
LINEAR_BEYOND = 0.05
WORTH_A_TILE = 0.9

TILES = {"tile_m": 128, "tile_n": 256, "tile_step": 64, "small_tile_m": 64, "small_tile_n": 128}
SMALL_TILE_SHARE = 0.25  # area of a small tile over that of a large one: the least that a wave of them can cost


class Rows(NamedTuple):
    """Measured matmuls of one accelerator and precision: shapes, groups, bytes moved per result, time [s]."""

    m: Floats
    n: Floats
    k: Floats
    groups: Floats
    out_bytes: Floats
    time_s: Floats

    def where(self, chosen: Mask | Indices) -> "Rows":
        """The rows that are chosen."""
        return Rows(*(column[chosen] for column in self))


class Device(NamedTuple):
    """What the datasheet says: dense peak [FLOP/s], bandwidth [B/s], cores; and bytes of a factor's number."""

    peak_flop_per_s: float
    hbm_bytes_per_s: float
    num_cores: int
    word_bytes: float


class Fit(NamedTuple):
    """A fitted kernel and, in eight bits, the cast of the first factor: bytes a number [B], time to start [s]."""

    kernel: MatmulKernel
    cast_bytes: float = 0.0
    cast_latency_s: float = 0.0

    def time_s(self, rows: Rows, device: Device) -> Floats:
        """Predicted time of each row [s]."""
        peak, hbm, word = device.peak_flop_per_s, device.hbm_bytes_per_s, device.word_bytes
        matmul_s = matmul_time_s(
            rows.m, rows.n, rows.k, self.kernel, peak, hbm, word, rows.out_bytes, num_groups=rows.groups
        )
        return np.asarray(matmul_s + rows.m * rows.k * self.cast_bytes / hbm + self.cast_latency_s)


def read_rows(path: Path, source: str = FITTED_SOURCE, op: str = "gemm") -> dict[tuple[str, str], Rows]:
    """Rows of one source by (accelerator id, precision), of a file in the format of ``gemm.csv``."""
    with path.open(encoding="utf-8", newline="") as lines:
        table = [row for row in csv.DictReader(lines) if row["source_id"] == source and _op(row) == op and _timed(row)]
    groups: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in table:
        groups.setdefault((ACCELERATORS[row["gpu"]], row["dtype"]), []).append(row)
    if not groups:
        raise BadInput(f"{path}: no {op!r} rows of source {source!r}")
    return {key: _columns(rows) for key, rows in groups.items()}


def _timed(row: dict[str, str]) -> bool:
    """Whether a row has a time: a shape that did not fit the memory has none."""
    return bool(row["latency_ms"] or row["tflops"])


def _op(row: dict[str, str]) -> str:
    return row["op"] + (" of weight gradients" if "stage=bwd_grad_w" in row["notes"] else "")


def _columns(rows: list[dict[str, str]]) -> Rows:
    m, n, k = np.array([_product(row) for row in rows]).T
    groups = np.array([float(row["groups"] or 1) for row in rows])
    out_bytes = np.array([8.0 if "out_dtype=fp32" in row["notes"] else 2.0 for row in rows])
    rate = np.array([float(row["tflops"]) for row in rows]) * 1e12
    latency = np.array([float(row["latency_ms"] or 0) for row in rows]) / 1e3
    return Rows(m, n, k, groups, out_bytes, np.where(latency > 0, latency, 2 * m * n * k * groups / rate))


def _product(row: dict[str, str]) -> tuple[float, float, float]:
    """Rows, columns and summed dimension; grouped rows name the forward product, whatever pass was measured."""
    m, n, k = (float(row[name]) for name in "mnk")
    if "stage=bwd_grad_act" in row["notes"]:
        return m, k, n
    if "stage=bwd_grad_w" in row["notes"]:
        return n, k, m
    return m, n, k


def device(accelerator: str, precision: str) -> Device:
    """The datasheet numbers of one accelerator at one precision."""
    record = parameter_set(DATASHEET).get(AcceleratorRecord, accelerator)
    peak = float(record.peak_flop_per_s[precision].value)
    numbers = record.numbers()
    hbm, cores = (float(numbers[name].value) for name in ("hbm_bytes_per_s", "num_sms"))
    return Device(peak, hbm, int(cores), WORD_BYTES[precision])


# name: lowest, first guess, highest
_BOUNDS = {
    "max_efficiency": (0.2, 0.8, 1.0),
    "max_hbm_fraction": (0.3, 0.75, 0.95),
    "half_k": (32.0, 100.0, 1000.0),
    "tail_fraction": (0.01, 0.3, 1.0),
    "tail_k": (64.0, 8000.0, 70000.0),
    "latency_s": (1e-6, 4e-6, 4e-5),
}
_SMALL_TILE = {"small_tile_cost": (SMALL_TILE_SHARE, 0.3, 1.0)}
_CAST = {"cast_bytes": (0.5, 6.0, 20.0)}


def _fit(rows: Rows, chip: Device, bounds: Mapping[str, tuple[float, float, float]]) -> Fit:
    from scipy.optimize import least_squares

    low, first, high = (np.log(column) for column in zip(*bounds.values(), strict=True))

    def made(logs: Floats) -> Fit:
        numbers = dict(zip(bounds, np.exp(logs).tolist(), strict=True))
        cast_bytes = numbers.pop("cast_bytes", 0.0)
        fixed: dict[str, Any] = TILES | {"small_tile_cost": 1.0, "num_cores": chip.num_cores}
        return Fit(MatmulKernel(**(fixed | numbers)), cast_bytes)

    def residuals(logs: Floats) -> Floats:
        return np.log(made(logs).time_s(rows, chip) / rows.time_s)

    found = least_squares(residuals, first, bounds=(low, high), loss="soft_l1", f_scale=LINEAR_BEYOND, max_nfev=300)
    return made(found.x)


def _bounds(chip: Device, small_tile: bool) -> dict[str, tuple[float, float, float]]:
    cast = _CAST if chip.word_bytes == WORD_BYTES["fp8"] else {}
    return _BOUNDS | (_SMALL_TILE if small_tile else {}) | cast


def fit(rows: Rows, chip: Device) -> Fit:
    """Fit one accelerator and precision, with a second tile where that lowers the held-out errors by a tenth."""
    one, two = (sum(summary(_held_out_errors(rows, chip, small_tile)).values()) for small_tile in (False, True))
    return _fit(rows, chip, _bounds(chip, two < WORTH_A_TILE * one))


def _held_out_errors(rows: Rows, chip: Device, small_tile: bool) -> Floats:
    """Absolute relative error of each row, fitted without the fold that it is in."""
    errors = np.zeros_like(rows.time_s)
    for held_out in _folds(rows):
        fitted = _fit(rows.where(~held_out), chip, _bounds(chip, small_tile))
        errors[held_out] = _errors(fitted, rows.where(held_out), chip)
    return errors


def _folds(rows: Rows) -> Iterator[Mask]:
    _, matrix = np.unique(np.stack([rows.n, rows.k]), axis=1, return_inverse=True)
    fold = np.random.default_rng(0).integers(0, NUM_FOLDS, matrix.max() + 1)[matrix.ravel()]
    yield from (fold == number for number in range(NUM_FOLDS))


def _errors(fitted: Fit, rows: Rows, chip: Device) -> Floats:
    return np.abs(fitted.time_s(rows, chip) / rows.time_s - 1)


def _p90(errors: Floats) -> float:
    return float(np.quantile(errors, 0.9))


def summary(errors: Floats) -> dict[str, float]:
    """Median and 90th percentile of errors, as fractions."""
    return {"median": round(float(np.median(errors)), 4), "p90": round(_p90(errors), 4)}


def transferred_errors(fits: Mapping[str, Fit], accelerator: str, rows: Rows, chip: Device) -> Floats:
    """Errors on one accelerator with the shape parameters of the others; only its maximum efficiency is fitted."""
    others = [fits[name].kernel for name in fits if name != accelerator]
    shape = {name: float(np.median([getattr(kernel, name) for kernel in others])) for name in _BOUNDS}
    kernel = MatmulKernel(**(TILES | shape | {"small_tile_cost": 1.0, "num_cores": chip.num_cores}))  # type: ignore[arg-type]
    return _scaled_errors(kernel, rows, chip, matmul_s)


def matmul_s(rows: Rows, kernel: MatmulKernel, chip: Device) -> Floats:
    """Predicted time of dense rows [s]."""
    return Fit(kernel).time_s(rows, chip)


def grouped_s(rows: Rows, kernel: MatmulKernel, chip: Device) -> Floats:
    """Predicted time of grouped rows [s], as if the groups were one matmul."""
    peak, hbm, word = chip.peak_flop_per_s, chip.hbm_bytes_per_s, chip.word_bytes
    time_s = grouped_matmul_time_s(rows.groups, rows.m, rows.n, rows.k, kernel, peak, hbm, word, rows.out_bytes)
    return np.asarray(time_s)


_Predictor = Callable[[Rows, MatmulKernel, Device], Floats]


def _scale(kernel: MatmulKernel, rows: Rows, chip: Device, predicted: _Predictor) -> float:
    """Measured time over predicted, in the median."""
    return float(np.median(rows.time_s / predicted(rows, kernel, chip)))


def _scaled_errors(kernel: MatmulKernel, rows: Rows, chip: Device, predicted: _Predictor) -> Floats:
    scale = _scale(kernel, rows, chip, predicted)
    slower = replace(kernel, max_efficiency=kernel.max_efficiency / scale)
    return np.abs(predicted(rows, slower, chip) / rows.time_s - 1)


def fit_all(path: Path) -> dict[str, Any]:
    """Fit every accelerator and precision of a file; numbers, rows and errors by accelerator and precision."""
    report: dict[str, dict[str, Any]] = {}
    bf16: dict[str, Fit] = {}
    tables = read_rows(path)
    for (accelerator, precision), rows in sorted(tables.items()):  # bf16 before fp8
        chip = device(accelerator, precision)
        fitted = fit(rows, chip)
        if precision == "bf16":
            bf16[accelerator] = fitted
        else:
            fitted = _cast_apart(fitted, bf16[accelerator].kernel.latency_s)
        report.setdefault(accelerator, {})[precision] = _entry(fitted, rows, chip)
    for accelerator in bf16:
        rows, chip = tables[accelerator, "bf16"], device(accelerator, "bf16")
        errors = transferred_errors(bf16, accelerator, rows, chip)
        report[accelerator]["bf16"]["shape_from_others"] = summary(errors)
    return report


def _cast_apart(fitted: Fit, latency_s: float) -> Fit:
    """The kernel with the latency that it has in 16 bits; what is left of the latency is the cast's."""
    kernel = replace(fitted.kernel, latency_s=latency_s)
    return fitted._replace(kernel=kernel, cast_latency_s=max(fitted.kernel.latency_s - latency_s, 0.0))


def _entry(fitted: Fit, rows: Rows, chip: Device) -> dict[str, Any]:
    small_tile = fitted.kernel.small_tile_cost < 1
    return {
        "parameters": asdict(fitted.kernel),
        "cast_bytes_per_element": fitted.cast_bytes,
        "cast_latency_s": fitted.cast_latency_s,
        "rows": len(rows.time_s),
        "in_sample": summary(_errors(fitted, rows, chip)),
        "held_out": summary(_held_out_errors(rows, chip, small_tile)),
    }


def second_source(path: Path, report: Mapping[str, Any]) -> dict[str, Any]:
    """Another laboratory's rows: how much slower than fitted, the error once that is allowed for, and grouped rows.

    Slowdowns of grouped matmuls are against that laboratory's own dense ones. Where a weight gradient was measured
    twice, added in 32 bits and written in 16, the faster counts.
    """
    out: dict[str, Any] = {}
    for (accelerator, precision), rows in read_rows(path, SECOND_SOURCE).items():
        kernel = MatmulKernel(**report[KIN[accelerator]][precision]["parameters"])
        chip = device(accelerator, precision)
        scale = _scale(kernel, rows, chip, matmul_s)
        entry = {"rows": len(rows.time_s), "slower": scale} | summary(_scaled_errors(kernel, rows, chip, matmul_s))
        for name, op in GROUPED.items():
            grouped = _fastest(read_rows(path, SECOND_SOURCE, op)[accelerator, precision])
            entry[name] = _scale(kernel, grouped, chip, grouped_s) / scale
        out[accelerator] = entry
    return out


def _fastest(rows: Rows) -> Rows:
    """One row a shape, the fastest."""
    order = np.lexsort((rows.time_s, rows.groups, rows.k, rows.n, rows.m))
    ordered = rows.where(order)
    shapes = np.stack([ordered.m, ordered.n, ordered.k, ordered.groups])
    return ordered.where(np.append(True, np.any(np.diff(shapes) != 0, axis=0)))


if __name__ == "__main__":
    fits = fit_all(Path(sys.argv[1]))
    json.dump({"accelerators": fits, "second_source": second_source(Path(sys.argv[1]), fits)}, sys.stdout, indent=1)
