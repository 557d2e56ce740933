"""What a machine sustains in training and what software adds there, fitted to its measured steps."""

import functools
import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from walltime.arrays import Floats, Mask
from walltime.calibrate.machine.numbers import Fitted, Prior, fit_numbers
from walltime.calibrate.machine.priors import chip_priors, cpu_values, stack_priors
from walltime.calibrate.machine.quality import Holdout, RowsFit, held_out
from walltime.catalog.calibrations import CalibrationRecord
from walltime.engines.calibration import AcceleratorNumbers, Calibration, StackNumbers, calibration
from walltime.engines.step import StepTime
from walltime.validate.cases import Case, Skipped, case_of
from walltime.validate.measured import MeasuredRow
from walltime.validate.predict import CaseBatch, batch_step, case_batches, step_times_s
from walltime.workload.parameters import num_parameters

Progress = Callable[[int, int], None]
"""Told how much is done, of how much."""
_CHIP = "chip"
_ITERATIONS = 20
_REMEMBERED = 3
"""Values of a batch that are remembered: as it is, and as one number changes, which may be of another batch."""
_MOVES = 1e-6
"""A number that changes no step by this share is not fitted."""


@dataclass(frozen=True)
class TrainingFit:
    """Numbers of a machine in training.

    Attributes
    ----------
    chip, stacks
        What was fitted of the accelerator and, by stack, of the software: all values, fitted or not.
    fit
        The numbers that were fitted, named ``chip:sustained``, ``pytorch:step_s``, and the errors of the rows.
    cases
        The rows.
    """

    chip: dict[str, float]
    stacks: dict[str, dict[str, float]]
    fit: RowsFit
    cases: tuple[Case, ...]

    def numbers_of(self, owner: str) -> Fitted:
        """Return the fitted numbers of ``chip`` or of a stack, by their own names."""
        found = self.fit.numbers

        def mine(values: Mapping[str, float]) -> dict[str, float]:
            return {name.partition(":")[2]: values[name] for name in values if name.partition(":")[0] == owner}

        estimated = tuple(name.partition(":")[2] for name in found.estimated if name.partition(":")[0] == owner)
        return Fitted(mine(found.values), mine(found.low), mine(found.high), estimated, found.cost)

    def is_of(self, stack: str) -> Mask:
        """Return which cases ran on a stack."""
        return np.array([case.stack == stack for case in self.cases])

    @property
    def step_numbers(self) -> Callable[[CaseBatch], Calibration]:
        """The numbers with which a batch of cases is predicted."""
        return lambda batch: _with(calibration(batch.cluster, batch.stack.id), self.chip, self.stacks[batch.stack.id])


def machine_cases(rows: Sequence[MeasuredRow], machine: CalibrationRecord) -> tuple[list[Case], list[Skipped]]:
    """Return training rows as cases on a machine that is being calibrated, and those that are none.

    Parameters
    ----------
    rows
        Measured steps.
    machine
        Its record, without what is fitted on them.
    """
    found: list[Case] = []
    skipped: list[Skipped] = []
    for row in rows:
        answer = case_of(row, machine)
        if isinstance(answer, Skipped):
            skipped.append(answer)
        elif answer.step_time_s:
            found.append(answer)
        else:
            skipped.append(Skipped(row, "no step time"))
    return found, skipped


def before_errors(rows: Sequence[MeasuredRow]) -> Floats:
    """Return the relative errors of training rows by the catalog's numbers, of those that it can predict."""
    cases = [case for row in rows if isinstance(case := case_of(row), Case) and case.step_time_s]
    if not cases:
        return np.array([])
    return _errors(step_times_s(case_batches(cases), len(cases)), cases)


def fit_training(
    cases: Sequence[Case],
    measured: Mapping[str, Prior],
    before: Floats | None,
    holdout: Holdout,
    *,
    is_cpu: bool,
    progress: Progress | None = None,
) -> TrainingFit:
    """Fit what the machine sustains and what software adds.

    Parameters
    ----------
    cases
        Measured steps on the machine (`machine_cases`).
    measured
        Numbers of the accelerator that its kernels have shown by themselves.
    before
        Relative errors by the catalog's numbers, where it has the machine.
    holdout
        How errors on rows held out are found, by model, batch and plan.
    is_cpu
        Whose priors.
    progress
        Called with how many fits are done, of how many.
    """
    usual = _usual(cases, is_cpu=is_cpu)
    known = _priors(usual, measured, is_cpu=is_cpu)
    points = [case_point(case) for case in cases]

    def steps_of(mask: Mask) -> _Steps:
        return _Steps([case for case, use in zip(cases, mask, strict=True) if use], usual, known)

    done = itertools.count(1)
    count = 1 + len(list(holdout.folds(points)))

    def fitted(steps: _Steps) -> Fitted:
        found = fit_numbers(steps.priors, steps.misses, _ITERATIONS, is_smooth=True)
        if progress:
            progress(next(done), count)
        return found

    def unseen(seen: Mask, out: Mask) -> Floats:
        values = {name: prior.value for name, prior in known.items()} | fitted(steps_of(seen)).values
        return np.exp(steps_of(out).misses(values)) - 1

    every = steps_of(np.ones(len(cases), dtype=bool))
    numbers = fitted(every)
    fit = RowsFit(numbers, np.exp(every.misses(numbers.values)) - 1, before, held_out(points, holdout, unseen))
    return TrainingFit(*usual.changed(numbers.values), fit, tuple(cases))


def case_point(case: Case) -> Hashable:
    """Return what a case measures: repetitions of the same model, batch and plan have the same point."""
    training = case.training
    size = num_parameters(training.model)
    features = tuple(sorted(case.features.items()))
    return (size, training.seq_len, training.batch_seqs, case.plan, case.stack, features)


@dataclass(frozen=True)
class _Usual:
    """All numbers before a fit, by name: of the accelerator, and of each software stack."""

    chip: Mapping[str, float]
    stacks: Mapping[str, Mapping[str, float]]

    def changed(self, values: Mapping[str, float]) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """Return all numbers with these for those that are fitted."""
        chip, stacks = dict(self.chip), {stack: dict(numbers) for stack, numbers in self.stacks.items()}
        for name, value in values.items():
            owner, _, number = name.partition(":")
            (chip if owner == _CHIP else stacks[owner])[number] = value
        return chip, stacks


def _usual(cases: Sequence[Case], *, is_cpu: bool) -> _Usual:
    if is_cpu:
        chip, stack = cpu_values()
        return _Usual(chip, {case.stack: stack for case in cases})
    known = {batch.stack.id: calibration(batch.cluster, batch.stack.id) for batch in case_batches(cases)}
    first = next(iter(known.values()))
    chip = vars(first.chip) | {"sustained": min(first.chip.sustained * first.kin_burst, 1)}
    return _Usual(chip, {stack: vars(one.stack) for stack, one in known.items()})


def _priors(usual: _Usual, measured: Mapping[str, Prior], *, is_cpu: bool) -> dict[str, Prior]:
    """Return what is known of every number, named as in `TrainingFit`."""
    owned = {_CHIP: chip_priors(usual.chip, measured, is_cpu=is_cpu)}
    is_alone = len(usual.stacks) == 1
    owned |= {stack: stack_priors(values, is_cpu=is_cpu, is_alone=is_alone) for stack, values in usual.stacks.items()}
    return {f"{owner}:{name}": prior for owner, priors in owned.items() for name, prior in priors.items()}


class _Steps:
    """Steps of a machine as functions of the numbers that are fitted.

    Parameters
    ----------
    cases
        Measured.
    usual
        Numbers that are not fitted.
    priors
        Of those that may be.

    Attributes
    ----------
    priors
        Of the numbers that change any of these steps.
    """

    def __init__(self, cases: Sequence[Case], usual: _Usual, priors: Mapping[str, Prior]) -> None:
        self.cases, self.usual = list(cases), usual
        self.batches = case_batches(cases)
        self.known = [calibration(batch.cluster, batch.stack.id) for batch in self.batches]
        self.measured_s = np.array([case.step_time_s or np.nan for case in cases])
        self.times_s = [functools.lru_cache(_REMEMBERED)(self._timer(i)) for i in range(len(self.batches))]
        self.movers = [self._movers(i, priors) for i in range(len(self.batches))]
        moving = set().union(*self.movers)
        self.priors = {name: prior for name, prior in priors.items() if name in moving}

    def _timer(self, i: int) -> Callable[..., Floats]:
        """Return the times of a batch as a function of pairs of name and value. [s]"""
        batch, known = self.batches[i], self.known[i]

        def times_s(*pairs: tuple[str, float]) -> Floats:
            chip, stacks = self.usual.changed(dict(pairs))
            return batch_step(batch, _with(known, chip, stacks[batch.stack.id])).time_s

        return times_s

    def _movers(self, i: int, priors: Mapping[str, Prior]) -> tuple[str, ...]:
        """Return the numbers that change a batch."""
        mine = [name for name in priors if name.partition(":")[0] in (_CHIP, self.batches[i].stack.id)]
        start = {name: priors[name].value for name in mine}
        here = self.times_s[i](*start.items())

        def moves(name: str) -> bool:
            moved = self.times_s[i](*(start | {name: priors[name].low}).items())
            return bool(np.abs(moved / here - 1).max() > _MOVES)

        return tuple(name for name in mine if moves(name))

    def misses(self, values: Mapping[str, float]) -> Floats:
        """Return the logarithm of predicted over measured time, (cases,)."""
        found = np.empty(len(self.cases))
        for batch, times_s, movers in zip(self.batches, self.times_s, self.movers, strict=True):
            found[batch.index] = times_s(*((name, values[name]) for name in movers))
        return np.log(found / self.measured_s)


def _with(known: Calibration, chip: Mapping[str, float], stack: Mapping[str, float]) -> Calibration:
    return replace(known, chip=AcceleratorNumbers(**chip), stack=StackNumbers(**stack), kin_burst=1.0)


def _errors(times_s: Floats, cases: Sequence[Case]) -> Floats:
    return np.asarray(times_s / np.array([case.step_time_s or np.nan for case in cases]) - 1)


def steps(fit: TrainingFit) -> list[tuple[CaseBatch, StepTime]]:
    """Return the predicted steps of the fitted cases, by parts."""
    return [(batch, batch_step(batch, fit.step_numbers(batch))) for batch in case_batches(fit.cases)]
