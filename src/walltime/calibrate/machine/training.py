"""What a machine sustains in training and what software adds there, fitted to its measured steps."""

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

_CHIP = "chip"
_ITERATIONS = 20
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
    """
    problem = _Steps(cases, measured, is_cpu=is_cpu)
    priors = problem.priors
    numbers = fit_numbers(priors, problem.misses, _ITERATIONS, is_smooth=True)

    def unseen(seen: Mask, out: Mask) -> Floats:
        part = problem.where(seen)
        values = fit_numbers(priors, part.misses, _ITERATIONS, is_smooth=True).values
        return np.exp(problem.where(out).misses(values)) - 1

    chip, stacks = problem.split(numbers.values)
    left_out = held_out([case_point(case) for case in cases], holdout, unseen)
    fit = RowsFit(numbers, np.exp(problem.misses(numbers.values)) - 1, before, left_out)
    return TrainingFit(chip, stacks, fit, tuple(cases))


def case_point(case: Case) -> Hashable:
    """Return what a case measures: repetitions of the same model, batch and plan have the same point."""
    training = case.training
    size = num_parameters(training.model)
    features = tuple(sorted(case.features.items()))
    return (size, training.seq_len, training.batch_seqs, case.plan, case.stack, features)


class _Steps:
    """Steps of a machine as functions of the numbers that are fitted.

    Parameters
    ----------
    cases
        Measured.
    measured
        As for `fit_training`.
    is_cpu
        Whose priors.
    """

    def __init__(self, cases: Sequence[Case], measured: Mapping[str, Prior], *, is_cpu: bool) -> None:
        self.cases, self.measured_priors, self.is_cpu = list(cases), measured, is_cpu
        self.batches = case_batches(cases)
        self.known = [calibration(batch.cluster, batch.stack.id) for batch in self.batches]
        self.measured_s = np.array([case.step_time_s or np.nan for case in cases])
        self.stack_ids = sorted({batch.stack.id for batch in self.batches})

    def where(self, mask: Mask) -> "_Steps":
        """Return the steps of a mask."""
        chosen = [case for case, use in zip(self.cases, mask, strict=True) if use]
        return _Steps(chosen, self.measured_priors, is_cpu=self.is_cpu)

    def usual(self) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """Return all numbers before the fit."""
        if self.is_cpu:
            return cpu_values()[0], {stack: cpu_values()[1] for stack in self.stack_ids}
        chip = vars(self.known[0].chip) | {"sustained": min(self.known[0].chip.sustained * self.known[0].kin_burst, 1)}
        known = {batch.stack.id: dict(vars(one.stack)) for batch, one in zip(self.batches, self.known, strict=True)}
        return dict(chip), known

    @property
    def priors(self) -> dict[str, Prior]:
        """The numbers that change any of these steps, with what is known of them before."""
        owned = {_CHIP: chip_priors(self.known[0], is_cpu=self.is_cpu, measured=self.measured_priors)}
        is_alone = len(self.stack_ids) == 1
        for batch, known in zip(self.batches, self.known, strict=True):
            owned[batch.stack.id] = stack_priors(known, is_cpu=self.is_cpu, is_alone=is_alone)
        named = {f"{owner}:{name}": prior for owner, priors in owned.items() for name, prior in priors.items()}
        start = {name: prior.value for name, prior in named.items()}
        here = self.misses(start)
        return {
            name: prior
            for name, prior in named.items()
            if np.abs(self.misses(start | {name: prior.low}) - here).max(initial=0) > _MOVES
        }

    def split(self, values: Mapping[str, float]) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """Return all numbers of the accelerator and of each stack, with these for those that are fitted."""
        chip, stacks = self.usual()
        for name, value in values.items():
            owner, _, number = name.partition(":")
            (chip if owner == _CHIP else stacks[owner])[number] = value
        return chip, {stack: dict(numbers) for stack, numbers in stacks.items()}

    def misses(self, values: Mapping[str, float]) -> Floats:
        """Return the logarithm of predicted over measured time, (cases,)."""
        chip, stacks = self.split(values)
        found = np.empty(len(self.cases))
        for batch, known in zip(self.batches, self.known, strict=True):
            found[batch.index] = batch_step(batch, _with(known, chip, stacks[batch.stack.id])).time_s
        return np.log(found / self.measured_s)


def _with(known: Calibration, chip: Mapping[str, float], stack: Mapping[str, float]) -> Calibration:
    return replace(known, chip=AcceleratorNumbers(**chip), stack=StackNumbers(**stack), kin_burst=1.0)


def _errors(times_s: Floats, cases: Sequence[Case]) -> Floats:
    return np.asarray(times_s / np.array([case.step_time_s or np.nan for case in cases]) - 1)


def steps(fit: TrainingFit) -> list[tuple[CaseBatch, StepTime]]:
    """Return the predicted steps of the fitted cases, by parts."""
    return [(batch, batch_step(batch, fit.step_numbers(batch))) for batch in case_batches(fit.cases)]
