"""What an accelerator draws by what it does, fitted to power that was measured beside kernels and training steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from walltime.arrays import Floats
from walltime.calibrate.machine.numbers import Prior, share
from walltime.calibrate.machine.quality import Holdout, RowsFit, fit_rows
from walltime.calibrate.machine.tables import launch_s
from walltime.calibrate.machine.training import TrainingFit, steps
from walltime.catalog import Number
from walltime.catalog.power import draws
from walltime.economics.power import DRAWN
from walltime.measure.kernel_rows import ATTENTION_OPS, GEMM, LAUNCH, MEMORY_OPS, KernelRow

SHARES = ("idle_share", "compute_share", "memory_bound_share", "communication_share")
_LONG = 10
"""Kernels of so many launches draw what they draw, not what waiting for them does."""
_UNSAID = 0.2
"""Relative range of a draw of the catalog that has none."""
_LEAST, _MOST = 0.01, 0.995


@dataclass(frozen=True)
class _Rows:
    """Measured power [W], the shares of time that each row spends as in `SHARES`, and what each row measures."""

    shares: Floats
    power_w: Floats
    points: list[str]


def fit_power(
    kernels: Sequence[KernelRow], training: TrainingFit | None, limit_w: float | None, based_on: str, holdout: Holdout
) -> RowsFit | None:
    """Fit the draws of an accelerator; None where power was not measured, or its limit is not known.

    Parameters
    ----------
    kernels
        Measured kernels.
    training
        Measured steps, whose parts are those predicted.
    limit_w
        Of the board. [W]
    based_on
        The catalog's accelerator, whose draws are what is known before.
    holdout
        How errors on rows held out are found.
    """
    rows = _measured(kernels, training)
    if limit_w is None or rows is None:
        return None
    known = {name: _prior(number) for name, number in zip(SHARES, draws(based_on), strict=True)}
    priors = {name: known[name] for i, name in enumerate(SHARES) if rows.shares[:, i].any()}

    def drawn_w(values: Mapping[str, float]) -> Floats:
        all_shares = {name: prior.value for name, prior in known.items()} | dict(values)
        return np.asarray(rows.shares @ np.array([all_shares[name] for name in SHARES]) * limit_w)

    return fit_rows(priors, drawn_w, rows.power_w, rows.points, holdout, drawn_w({}))


def _prior(number: Number) -> Prior:
    value = float(number.value)
    low, high = (
        (value * (1 - _UNSAID), value * (1 + _UNSAID)) if number.low is None or number.high is None
        else (number.low, number.high)
    )  # fmt: skip
    kept = [min(max(each, _LEAST), _MOST) for each in (value, low, high)]
    return share(*kept)


def _measured(kernels: Sequence[KernelRow], training: TrainingFit | None) -> _Rows | None:
    """Return the rows with measured power."""
    start_s = launch_s(kernels) or 0.0
    rows = [(_activity(row), row.power_w, f"{row.op} {row.point}") for row in kernels if _draws_alone(row, start_s)]
    rows += _of_training(training) if training else []
    if not rows:
        return None
    shares, power_w, points = zip(*rows, strict=True)
    return _Rows(np.array(shares), np.array(power_w, dtype=float), list(points))


def _draws_alone(row: KernelRow, start_s: float) -> bool:
    is_long = row.op == LAUNCH or (row.time_s or 0) >= _LONG * start_s
    return bool((row.power_w or 0) > 0 and row.time_s and is_long and _activity(row).any())


def _activity(row: KernelRow) -> Floats:
    kind = "compute_share" if row.op in (GEMM, *ATTENTION_OPS) else "memory_bound_share" if row.op in MEMORY_OPS else ""
    kind = "idle_share" if row.op == LAUNCH else kind
    return np.array([float(name == kind) for name in SHARES])


def _of_training(training: TrainingFit) -> list[tuple[Floats, float | None, str]]:
    """Return the steps whose power was measured, with the shares of their predicted parts."""
    found = []
    place = {part: SHARES.index(power_w.replace("_w", "_share")) for part, power_w in DRAWN.items()}
    for batch, step in steps(training):
        for i, at in enumerate(batch.index):
            row = training.cases[at].row
            if row.power_w:
                times_s = np.zeros(len(SHARES))
                for name, part_s in step.parts_s.items():
                    times_s[place[name]] += part_s[i]
                found.append((times_s / times_s.sum(), row.power_w, f"step {row.place}"))
    return found
