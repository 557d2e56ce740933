"""Fitting what accelerators sustain and what software stacks add, on measured training steps.

One number per accelerator or software stack, never per row or source. Each source weighs the same; a prior keeps at
its default what no row decides. ``python -m walltime.calibrate.training DIRECTORY`` writes ``fitted/training.toml``.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

import numpy as np

from walltime.arrays import Floats, Mask
from walltime.calibrate.least_squares import Problem, solve
from walltime.catalog.fitted import training_record
from walltime.engines.calibration import AcceleratorNumbers, Calibration, StackNumbers, calibration
from walltime.validate.cases import Case, read_cases
from walltime.validate.predict import CaseBatch, batch_step, case_batches

_SCALE, _PRIOR_WEIGHT, _DIFFERENCE = 0.05, 0.02, 1e-3
_LEAST_WIDTH_OF_PRIOR = 2
_DECIDED = 0.8
"""A number whose uncertainty is at most this share of its prior's is decided by rows."""
_FIXED = ("overlap_pp", "flash1_share")
"""Numbers that no row of the files can tell from others."""
Kind = Literal["accelerator", "stack"]


@dataclass(frozen=True)
class Parameter:
    """One number that is fitted.

    Attributes
    ----------
    kind, owner, name
        Whose it is: for example ``stack``, ``fsdp1``, ``host_layer_s``.
    mean, sigma
        Of its prior, in the coordinate of `encode`.
    is_share
        Whether it lies between 0 and 1, so that its coordinate is the log of its odds, not its log.
    """

    kind: Kind
    owner: str
    name: str
    mean: float
    sigma: float
    is_share: bool

    def decode(self, x: float) -> float:
        """Return the value at a coordinate."""
        return float(1 / (1 + np.exp(-x))) if self.is_share else float(np.exp(x))


def encode(value: float, *, is_share: bool) -> float:
    """Return the coordinate of a value."""
    return float(np.log(value / (1 - value)) if is_share else np.log(value))


def parameters_of(kind: Kind, owners: Sequence[str]) -> list[Parameter]:
    """Return every number of some accelerators or stacks, with the priors of ``default`` in the catalog."""
    default = getattr(training_record(), kind)["default"]
    numbers = AcceleratorNumbers if kind == "accelerator" else StackNumbers
    found = []
    for name in (field.name for field in fields(numbers) if field.name not in _FIXED):
        low, value, high = default.low[name], default.values[name], default.high[name]
        is_share = high < 1
        ends = encode(low, is_share=is_share), encode(high, is_share=is_share)
        sigma = (ends[1] - ends[0]) / _LEAST_WIDTH_OF_PRIOR**2
        found += [Parameter(kind, owner, name, encode(value, is_share=is_share), sigma, is_share) for owner in owners]
    return found


@dataclass(frozen=True)
class Fit:
    """Fitted numbers.

    Attributes
    ----------
    parameters
        What was fitted.
    x : (parameters,)
        Their coordinates.
    sigma_shares : (parameters,)
        Their uncertainty over that of the prior.
    """

    parameters: tuple[Parameter, ...]
    x: Floats
    sigma_shares: Floats

    def numbers(self, batch: CaseBatch) -> Calibration:
        """Return the numbers for a batch of cases, as `walltime.validate.predict` asks for them."""
        return _numbers(self.parameters, self.x, batch)

    @property
    def num_decided(self) -> int:
        """Numbers that the rows decide, rather than the prior."""
        return int((self.sigma_shares <= _DECIDED).sum())


def _numbers(parameters: Sequence[Parameter], x: Floats, batch: CaseBatch) -> Calibration:
    base = calibration(batch.cluster, "default")
    owners = {"accelerator": batch.cluster.accelerator.id, "stack": batch.stack.id}
    changed: dict[str, dict[str, float]] = {"accelerator": {}, "stack": {}}
    for parameter, coordinate in zip(parameters, x, strict=True):
        if owners[parameter.kind] == parameter.owner:
            changed[parameter.kind][parameter.name] = parameter.decode(coordinate)
    record = training_record()
    plain_chip = AcceleratorNumbers(**record.accelerator["default"].values)
    chip = replace(plain_chip, **changed["accelerator"])
    return replace(base, chip=chip, stack=replace(base.stack, **changed["stack"]))


def fit(cases: Sequence[Case], chosen: Mask | None = None) -> Fit:
    """Fit all numbers of the accelerators and stacks that occur.

    Parameters
    ----------
    cases
        Measured rows.
    chosen : (cases,)
        Those to fit on; by default all of the core scope with a measured time.
    """
    used = np.array([case.is_core and bool(case.step_time_s) for case in cases])
    rows = [case for case, use in zip(cases, used if chosen is None else used & chosen, strict=True) if use]
    batches = case_batches(rows)
    parameters = [
        *parameters_of("accelerator", sorted({batch.cluster.accelerator.id for batch in batches})),
        *parameters_of("stack", sorted({batch.stack.id for batch in batches})),
    ]
    measured = np.log([case.step_time_s or np.nan for case in rows])

    def residuals(x: Floats, only: Parameter | None = None, present: Floats | None = None) -> Floats:
        logs = np.empty(len(rows)) if present is None else present + measured
        for batch in batches:
            if only is None or only.owner in (batch.cluster.accelerator.id, batch.stack.id):
                logs[batch.index] = np.log(batch_step(batch, _numbers(parameters, x, batch)).time_s)
        return logs - measured

    def jacobian(x: Floats, present: Floats) -> Floats:
        slopes = np.empty((len(rows), len(parameters)))
        for j, parameter in enumerate(parameters):
            moved = x.copy()
            moved[j] += _DIFFERENCE
            slopes[:, j] = (residuals(moved, parameter, present) - present) / _DIFFERENCE
        return slopes

    solution = solve(
        Problem(
            residuals=residuals,
            jacobian=jacobian,
            weights=_source_weights(rows),
            scale=_SCALE,
            prior_mean=np.array([parameter.mean for parameter in parameters]),
            prior_sigma=np.array([parameter.sigma for parameter in parameters]),
            prior_weight=_PRIOR_WEIGHT,
        )
    )
    return Fit(tuple(parameters), solution.x, solution.sigma_shares)


def _source_weights(cases: Sequence[Case]) -> Floats:
    """Return weights with which the rows of each source add up to one."""
    sources = [case.source_id for case in cases]
    return np.array([1 / sources.count(source) for source in sources])


def training_toml(fitted: Fit, cases: Sequence[Case], head: str) -> str:
    """Return ``fitted/training.toml`` with these numbers after ``head``, the part that is written by hand."""
    blocks = [head.rstrip()]
    for kind in ("accelerator", "stack"):
        for owner in sorted({p.owner for p in fitted.parameters if p.kind == kind}):
            blocks.append(_block(fitted, cases, kind, owner))
    return "\n\n".join(blocks) + "\n"


def _block(fitted: Fit, cases: Sequence[Case], kind: str, owner: str) -> str:
    mine = [(p, x, s) for p, x, s in zip(fitted.parameters, fitted.x, fitted.sigma_shares, strict=True)
            if (p.kind, p.owner) == (kind, owner)]  # fmt: skip
    rows = [c for c in cases if owner == (c.machine.accelerator if kind == "accelerator" else c.stack) and c.is_core]
    undecided = ", ".join(f'"{p.name}"' for p, _, share in mine if share > _DECIDED)
    sources = ", ".join(sorted({case.source_id for case in rows}))
    ends = {sign: {p.name: p.decode(x + sign * 2 * s * p.sigma) for p, x, s in mine} for sign in (-1, 0, 1)}
    tables = {name: ", ".join(f"{k} = {v:.4g}" for k, v in ends[sign].items()) for sign, name in
              ((-1, "low"), (1, "high"), (0, "values"))}  # fmt: skip
    return "\n".join(
        [
            f"[{kind}.{owner}]",
            'kind = "fitted"',
            'source = "training2026"',
            f'locator = "{sources}"',
            f"rows = {len(rows)}",
            f"estimated = [{undecided}]",
            *(f"{name} = {{ {table} }}" for name, table in tables.items()),
        ]
    )


def main() -> None:
    """Fit on the files of a folder and write the catalog's file."""
    from walltime.catalog import data_root

    path = data_root() / "fitted" / "training.toml"
    files = sorted(file for file in Path(sys.argv[1]).glob("*.csv") if "framework" in file.open().readline())
    cases, _ = read_cases(files, strict=False)
    head = path.read_text(encoding="utf-8").split("\n\n[accelerator.", 2)
    by_hand = head[0] + "\n\n[accelerator." + head[1]
    stack_default = path.read_text(encoding="utf-8").split("[stack.default]")[1].split("\n\n")[0]
    by_hand = by_hand.split("[stack.default]")[0].rstrip() + "\n\n[stack.default]" + stack_default
    fitted = fit(cases)
    path.write_text(training_toml(fitted, cases, by_hand), encoding="utf-8")
    print(f"{fitted.num_decided} of {len(fitted.parameters)} numbers decided by rows: {path}")


if __name__ == "__main__":
    main()
