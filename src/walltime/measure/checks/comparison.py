"""Predicted and measured beside each other."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from walltime.economics.account import Account
from walltime.engines.transformer_memory import NOT_ALLOCATED, NOT_RESERVED
from walltime.measure.checks.groups import exposed_by_parallelism_s
from walltime.measure.checks.measured import Measured
from walltime.measure.records import StepParts
from walltime.plan import Plan

_KINDS = ("tp", "cp", "ep", "pp", "dp")
_COMPUTATION = ("matmul", "attention", "memory_bound", "optimizer")


@dataclass(frozen=True)
class Part:
    """A part of a step. [s]

    Attributes
    ----------
    name
        As in the keys of JSON.
    predicted_s, measured_s
        ``measured_s`` is None where it was not measured, or cannot be told from other parts.
    within
        The part that it is a part of, empty for one of those that add up to the step.
    """

    name: str
    predicted_s: float
    measured_s: float | None
    within: str = ""

    @property
    def difference_s(self) -> float | None:
        """Predicted less measured: above zero where the model is too slow. [s]"""
        return None if self.measured_s is None else self.predicted_s - self.measured_s


@dataclass(frozen=True)
class Comparison:
    """A plan's prediction beside its measurement.

    Attributes
    ----------
    account
        The prediction, of one plan.
    measured
        The measurement.
    parts
        Of the step: those that add up to it, each followed by its own parts.
    predicted_memory_bytes
        Of the kind that was measured; None of a whole process, which is mostly not the model. [B]
    """

    account: Account
    measured: Measured
    parts: tuple[Part, ...]
    predicted_memory_bytes: float | None

    @property
    def predicted_s(self) -> float:
        """The predicted step. [s]"""
        return float(self.account.estimate.time_s[0])

    @property
    def error(self) -> float:
        """Predicted over measured step, less one."""
        return self.predicted_s / self.measured.step_time_s - 1

    @property
    def predicted_power_w(self) -> float | None:
        """Of an accelerator's board; None where it is not known. [W]"""
        return None if self.account.board_w is None else float(self.account.board_w[0])

    @property
    def measured_utilization(self) -> float:
        """Model FLOP/s utilisation of the measured step, by the prediction's convention and peak."""
        return float(self.account.estimate.utilization[0]) * self.predicted_s / self.measured.step_time_s

    @property
    def measured_tokens_per_s(self) -> float:
        """Of the whole cluster. [tokens/s]"""
        return self.account.estimate.training.batch_tokens / self.measured.step_time_s

    @property
    def notes(self) -> list[str]:
        """What to mind of the measurement, a line each."""
        above = self.measured_utilization > 1
        why = "a utilisation above 1: it is of another run, or of faster accelerators"
        return [*self.measured.notes, *([f"the measured step is {why}"] if above else [])]

    @property
    def largest_miss(self) -> Part | None:
        """The part whose prediction is off by most, None without measured parts.

        Kinds of communication count by themselves only where one is off by more than all of it.
        """
        known = [part for part in self.parts if part.difference_s is not None]
        return max(known, key=lambda part: abs(part.difference_s or 0.0), default=None)


def comparison(account: Account, plan: Plan, measured: Measured) -> Comparison:
    """Return a prediction beside a measurement.

    Parameters
    ----------
    account
        The prediction, of one plan.
    plan
        That plan.
    measured
        The measurement of the same run.
    """
    parts = {name: float(part[0]) for name, part in account.estimate.parts_s.items()}
    memory = {name: float(size[0]) for name, size in account.estimate.memory_bytes.items()}
    left_out = NOT_ALLOCATED if measured.memory_kind == "allocated" else NOT_RESERVED
    held = sum(size for name, size in memory.items() if name not in left_out)
    of_process = measured.memory_kind == "resident"  # most of which is none of the model's
    needed = None if of_process else held
    return Comparison(account, measured, tuple(_parts(parts, plan, measured.parts)), needed)


def _parts(predicted: Mapping[str, float], plan: Plan, measured: StepParts | None) -> Iterator[Part]:
    """Yield the parts of a step; a pipeline's sends stand with idle time, since they wait for other stages in both."""
    yield Part("compute", sum(predicted[name] for name in _COMPUTATION), measured.compute_s if measured else None)
    for name in _COMPUTATION:
        yield Part(name, predicted[name], None, "compute")
    told = exposed_by_parallelism_s(measured, plan) if measured else {}
    apart = plan.pp > 1 and (measured is None or "pp" in told)
    kinds = [kind for kind in _KINDS if not (apart and kind == "pp")]
    sends_s = told.get("pp", 0.0) if apart else 0.0
    exposed = None if measured is None else max(measured.exposed_communication_s - sends_s, 0.0)
    yield Part("exposed_communication", sum(predicted[f"{kind}_comm"] for kind in kinds), exposed)
    for kind in kinds:
        if predicted[f"{kind}_comm"] or kind in told:
            alone = exposed if len([k for k in kinds if getattr(plan, k) > 1]) == 1 else None
            yield Part(f"{kind}_comm", predicted[f"{kind}_comm"], told.get(kind, alone), "exposed_communication")
    yield from _idle(predicted, measured, sends_s, apart=apart)


def _idle(predicted: Mapping[str, float], measured: StepParts | None, sends_s: float, *, apart: bool) -> Iterator[Part]:
    names = ("bubble", "host", "overhead")
    whole = "pipeline_and_idle" if apart else "idle"
    sends = predicted["pp_comm"] if apart else 0.0
    idle = None
    if measured is not None:
        idle = measured.step_s - measured.compute_s - max(measured.exposed_communication_s - sends_s, 0.0)
    yield Part(whole, sends + sum(predicted[name] for name in names), idle)
    if apart:
        yield Part("pp_comm", sends, None, whole)
    for name in names:
        if predicted[name]:
            yield Part(name, predicted[name], None, whole)
