"""Fitting what accelerators sustain and what software stacks add, on measured training steps.

Numbers belong to an accelerator or a software stack, never to a row or a source. Each is what is usual plus what is
special: the usual is fitted on all rows and also serves accelerators and stacks of which there are none; a prior keeps
at the usual what no row decides. Each source weighs the same.

``python -m walltime.calibrate.training DIRECTORY`` fits on the files of a folder and writes ``fitted/training.toml``.
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

_SCALE, _PRIOR_WEIGHT, _DIFFERENCE = 0.05, 0.03, 1e-3
_SIGMAS_IN_RANGE = 4
"""The catalog's low and high are two standard deviations of the prior to either side."""
_DECIDED = 0.8
"""A number whose uncertainty is at most this share of its prior's is decided by rows."""
FIXED = ("overlap_pp", "dropout_slowdown", "dp_factor")
"""Numbers that no row of the files can tell from others."""
RELATIVE = ("kernel_efficiency",)
"""Numbers that compare stacks with each other, so that what is usual is 1."""
_STIFFNESS, _STIFFNESS_OF_RELATIVE = 3, 10
"""How many times narrower the prior of what is usual is than that of what is special: one stack does not move it."""
USUAL = "default"
"""Owner of the numbers that are usual."""
Kind = Literal["accelerator", "stack"]
_NUMBERS = {"accelerator": AcceleratorNumbers, "stack": StackNumbers}


@dataclass(frozen=True)
class Parameter:
    """One coordinate of the fit: a usual number, or how far an accelerator or a stack is from it.

    Attributes
    ----------
    kind, owner, name
        Whose it is: for example ``stack``, ``fsdp1``, ``host_layer_s``.
    mean, sigma
        Of its prior, in the coordinate of `encode`; the mean of what is special is zero.
    is_share
        Whether the number lies between 0 and 1, so that its coordinate is the log of its odds, not its log.
    """

    kind: Kind
    owner: str
    name: str
    mean: float
    sigma: float
    is_share: bool


def encode(value: float, *, is_share: bool) -> float:
    """Return the coordinate of a value."""
    return float(np.log(value / (1 - value)) if is_share else np.log(value))


def decode(x: float, *, is_share: bool) -> float:
    """Return the value at a coordinate."""
    return float(1 / (1 + np.exp(-x))) if is_share else float(np.exp(x))


def parameters_of(kind: Kind, owners: Sequence[str]) -> list[Parameter]:
    """Return the coordinates of what is usual, with the priors of the catalog, and of each owner."""
    prior = getattr(training_record(), kind)["prior"]
    found = []
    for name in (field.name for field in fields(_NUMBERS[kind]) if field.name not in FIXED):
        is_share = prior.high[name] < 1
        low, mean, high = (encode(v[name], is_share=is_share) for v in (prior.low, prior.values, prior.high))
        sigma = (high - low) / _SIGMAS_IN_RANGE
        width = sigma / (_STIFFNESS_OF_RELATIVE if name in RELATIVE else _STIFFNESS)
        found.append(Parameter(kind, USUAL, name, mean, width, is_share))
        found += [Parameter(kind, owner, name, 0.0, sigma, is_share) for owner in owners]
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

    def coordinates(self, kind: Kind, owner: str) -> dict[str, tuple[Parameter, float, float]]:
        """Return each number of an owner: its parameter, its coordinate, its standard deviation there."""
        found: dict[str, tuple[Parameter, float, float]] = {}
        usual: dict[str, float] = {}
        for parameter, x, share in zip(self.parameters, self.x, self.sigma_shares, strict=True):
            if parameter.kind != kind:
                continue
            if parameter.owner == USUAL:
                usual[parameter.name] = x
            if parameter.owner == owner:
                special = 0.0 if owner == USUAL else usual[parameter.name]
                found[parameter.name] = parameter, special + x, share * parameter.sigma
        return found

    def is_decided(self, parameter: Parameter) -> bool:
        """Return whether rows decide a number, rather than the prior."""
        return bool(self.sigma_shares[self.parameters.index(parameter)] <= _DECIDED)


def _numbers(parameters: Sequence[Parameter], x: Floats, batch: CaseBatch) -> Calibration:
    owners = {"accelerator": _family(batch), "stack": batch.stack.id}
    coordinates: dict[str, dict[str, float]] = {"accelerator": {}, "stack": {}}
    shares = {}
    for parameter, value in zip(parameters, x, strict=True):
        if parameter.owner in (USUAL, owners[parameter.kind]):
            mine = coordinates[parameter.kind]
            mine[parameter.name] = mine.get(parameter.name, 0.0) + value
            shares[parameter.name] = parameter.is_share
    values = {
        kind: {name: decode(at, is_share=shares[name]) for name, at in mine.items()}
        for kind, mine in coordinates.items()
    }
    base = calibration(batch.cluster, USUAL)
    chip = AcceleratorNumbers(**(training_record().accelerator["prior"].values | values["accelerator"]))
    return replace(base, chip=chip, stack=StackNumbers(**(training_record().stack["prior"].values | values["stack"])))


class _Rows:
    """The rows that are fitted: residuals in the logarithm of the step time, and their slopes."""

    def __init__(self, rows: Sequence[Case]) -> None:
        self.batches = case_batches(rows)
        self.measured = np.log([case.step_time_s or np.nan for case in rows])
        chips = sorted({_family(batch) for batch in self.batches})
        self.parameters = (
            *parameters_of("accelerator", chips),
            *parameters_of("stack", sorted({batch.stack.id for batch in self.batches})),
        )

    def residuals(self, x: Floats) -> Floats:
        return self._changed(x, self.batches, np.empty(len(self.measured)))

    def _changed(self, x: Floats, batches: Sequence[CaseBatch], residuals: Floats) -> Floats:
        for batch in batches:
            times_s = batch_step(batch, _numbers(self.parameters, x, batch)).time_s
            residuals[batch.index] = np.log(times_s) - self.measured[batch.index]
        return residuals

    def jacobian(self, x: Floats, present: Floats) -> Floats:
        """Return the slopes; a usual number's are those of its owners together, since each row has one owner."""
        slopes = np.zeros((len(present), len(self.parameters)))
        usual = {(p.kind, p.name): j for j, p in enumerate(self.parameters) if p.owner == USUAL}
        for j, parameter in enumerate(self.parameters):
            if parameter.owner == USUAL:
                continue
            moved = x.copy()
            moved[j] += _DIFFERENCE
            mine = [b for b in self.batches if parameter.owner in (_family(b), b.stack.id)]
            slopes[:, j] = (self._changed(moved, mine, present.copy()) - present) / _DIFFERENCE
            slopes[:, usual[parameter.kind, parameter.name]] += slopes[:, j]
        return slopes


def fit(cases: Sequence[Case], chosen: Mask | None = None, start: Fit | None = None) -> Fit:
    """Fit all numbers of the accelerators and stacks that occur.

    Parameters
    ----------
    cases
        Measured rows; those of the core scope with a measured time count.
    chosen : (cases,)
        Those of them to fit on; all by default.
    start
        A fit from whose numbers the search starts; by default from the priors. It ends at the same minimum.
    """
    used = np.array([case.is_core and bool(case.step_time_s) for case in cases])
    if chosen is not None:
        used &= chosen
    rows = [case for case, use in zip(cases, used, strict=True) if use]
    fitted = _Rows(rows)
    solution = solve(
        Problem(
            residuals=fitted.residuals,
            jacobian=fitted.jacobian,
            weights=_source_weights(rows),
            scale=_SCALE,
            prior_mean=np.array([parameter.mean for parameter in fitted.parameters]),
            prior_sigma=np.array([parameter.sigma for parameter in fitted.parameters]),
            prior_weight=_PRIOR_WEIGHT,
        ),
        None if start is None else _started(fitted.parameters, start),
    )
    return Fit(fitted.parameters, solution.x, solution.sigma_shares)


def _started(parameters: Sequence[Parameter], start: Fit) -> Floats:
    known = {(p.kind, p.owner, p.name): x for p, x in zip(start.parameters, start.x, strict=True)}
    return np.array([known.get((p.kind, p.owner, p.name), p.mean) for p in parameters])


def _source_weights(cases: Sequence[Case]) -> Floats:
    """Return weights with which the rows of each source add up to one."""
    sources = [case.source_id for case in cases]
    counts = {source: sources.count(source) for source in set(sources)}
    return np.array([1 / counts[source] for source in sources])


def training_toml(fitted: Fit, cases: Sequence[Case], head: str) -> str:
    """Return ``fitted/training.toml``: these numbers after ``head``, the part that is written by hand."""
    kinds: tuple[Kind, ...] = ("accelerator", "stack")
    owners = {(p.kind, p.owner) for p in fitted.parameters}
    order = sorted(owners, key=lambda pair: (kinds.index(pair[0]), pair[1] != USUAL, pair[1]))
    blocks = [_block(fitted, cases, kind, owner) for kind, owner in order]
    return "\n\n".join([head.rstrip(), *blocks]) + "\n"


def _block(fitted: Fit, cases: Sequence[Case], kind: Kind, owner: str) -> str:
    mine = fitted.coordinates(kind, owner)
    rows = [c for c in cases if c.is_core and owner in (USUAL, _owner(c, kind))]
    fixed = {name: value for name, value in getattr(training_record(), kind)["prior"].values.items() if name in FIXED}
    tables = {}
    for table, sigmas in (("low", -2), ("high", 2), ("values", 0)):
        values = {name: decode(x + sigmas * sigma, is_share=p.is_share) for name, (p, x, sigma) in mine.items()}
        values |= fixed if table == "values" else {}
        tables[table] = ", ".join(f"{name} = {value:.4g}" for name, value in values.items())
    undecided = [name for name, (p, _, _) in mine.items() if not fitted.is_decided(p)] + list(fixed)
    return "\n".join(
        [
            f"[{kind}.{owner}]",
            'kind = "fitted"',
            'source = "training2026"',
            f'locator = "{", ".join(sorted({case.source_id for case in rows}))}"',
            f"rows = {len(rows)}",
            f"estimated = [{', '.join(f'{chr(34)}{name}{chr(34)}' for name in undecided)}]",
            *(f"{table} = {{ {values} }}" for table, values in tables.items()),
        ]
    )


def _owner(case: Case, kind: Kind) -> str:
    return training_record().family_of(case.machine.accelerator) if kind == "accelerator" else case.stack


def _family(batch: CaseBatch) -> str:
    return training_record().family_of(batch.cluster.accelerator.id)


def main() -> None:
    """Fit on the files of a folder and write the catalog's file, keeping its priors, which stand first."""
    from walltime.catalog import data_root

    path = data_root() / "fitted" / "training.toml"
    files = sorted(file for file in Path(sys.argv[1]).glob("*.csv") if "framework" in file.open().readline())
    cases, _ = read_cases(files, strict=False)
    head = path.read_text(encoding="utf-8").split("[accelerator.default]")[0]
    fitted = fit(cases)
    path.write_text(training_toml(fitted, cases, head), encoding="utf-8")
    sys.stdout.write(f"{fitted.num_decided} of {len(fitted.parameters)} numbers decided by rows: {path.name}\n")


if __name__ == "__main__":
    main()
