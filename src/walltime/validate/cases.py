"""Measured rows as questions: each becomes a case (model, plan, cluster, stack, what was measured) or is skipped.

The rules stand in modules of their own, one a question: `families` and `architecture` (which model), `layouts` (which
plan), `chips` (which machine), `frameworks` and `notes` (which software), `targets` (what was measured),
`source_rules` (what a source states outside its rows). None of them looks at what was measured to decide the rest.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from walltime.catalog import DATASHEET, AcceleratorRecord, parameter_set
from walltime.catalog.calibrations import CalibrationRecord, calibration_record, calibrations_labelled
from walltime.engines.calibration import kernels
from walltime.plan import Plan, Precision
from walltime.problems import BadInput
from walltime.units import format_si
from walltime.validate.architecture import Unsaid, transformer_of
from walltime.validate.chips import Machine, machine_of
from walltime.validate.frameworks import HARNESS_STACK, stack_of
from walltime.validate.harness import harness_model
from walltime.validate.layouts import layout_of, with_left_out
from walltime.validate.measured import CORE, MeasuredRow, contradiction, read_measured
from walltime.validate.notes import other_facts, stack_features
from walltime.validate.source_rules import source_features, source_group
from walltime.validate.targets import MeasuredMemory, MeasuredTime, memory_of, step_time_of
from walltime.workload import Training, Transformer
from walltime.workload.flop import model_flop_per_token
from walltime.workload.parameters import num_active_parameters, num_parameters

_OTHER_SIZE = 2
_FORMATS = {"fp8-block": "fp8", "mxfp8": "fp8", "nvfp4": "fp4"}


@dataclass(frozen=True)
class Case:
    """A measured row as the engine is asked about it.

    Attributes
    ----------
    row
        As it stands in its file.
    training, plan, machine, stack
        The model with sequence length and batch; the plan; the cluster; the id of the software stack.
    features
        What the row says of its software, by field of `walltime.engines.stack.Stack`: overrides the stack.
    facts
        Further facts by name, see `walltime.validate.notes.other_facts`.
    time, memory
        What was measured, or None.
    assumptions
        What had to be assumed, in words.
    """

    row: MeasuredRow
    training: Training
    plan: Plan
    machine: Machine
    stack: str
    features: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    time: MeasuredTime | None = None
    memory: MeasuredMemory | None = None
    assumptions: tuple[str, ...] = ()

    @property
    def source_id(self) -> str:
        """The row's source."""
        return self.row.source_id

    @property
    def source_group(self) -> str:
        """The sources that are left out together with this one."""
        return source_group(self.row.source_id)

    @property
    def num_gpus(self) -> int:
        """Accelerators of the plan."""
        return self.plan.num_gpus

    @property
    def is_core(self) -> bool:
        """Whether the row counts in headline figures."""
        return self.row.scope == CORE

    @property
    def step_time_s(self) -> float | None:
        """Measured step time. [s]"""
        return self.time.step_time_s if self.time else None

    @property
    def memory_bytes(self) -> float | None:
        """Measured memory of one accelerator. [B]"""
        return self.memory.memory_bytes if self.memory else None

    @property
    def ran(self) -> bool:
        """Whether it ran, that is did not run out of memory."""
        return self.row.status != "oom"

    @property
    def ranking_group(self) -> tuple[object, ...]:
        """Rows that answer the same question with different plans share this."""
        batch = (self.num_gpus, self.training.batch_seqs, self.training.seq_len)
        return (self.source_id, self.row.model_name, self.machine.accelerator, *batch)


@dataclass(frozen=True)
class Skipped:
    """A row that no prediction can be made for, and why."""

    row: MeasuredRow
    reason: str

    @property
    def source_id(self) -> str:
        """The row's source."""
        return self.row.source_id


def case_of(row: MeasuredRow, on: CalibrationRecord | None = None) -> Case | Skipped:
    """Return the row as a case, or why it is skipped.

    Parameters
    ----------
    row
        A measured row.
    on
        A calibration that stands for the row's accelerator, where the row is of such a one.
    """
    if problem := contradiction(row):
        return Skipped(row, f"contradictory: {problem}")
    try:
        return _case(row, on)
    except Unsaid as missing:
        return Skipped(row, str(missing))
    except BadInput as problem:
        return Skipped(row, f"contradictory: {problem}")


def _case(row: MeasuredRow, on: CalibrationRecord | None) -> Case:
    filled, assumed = with_left_out(row)
    if not filled.seq_len:
        raise Unsaid("seq_len not stated")
    machine = machine_of(filled, on)
    if machine is None:
        raise Unsaid(_unknown_accelerator(filled))
    model, stack = harness_model(filled.model_name, filled.other) or transformer_of(filled), stack_of(filled)
    layout = layout_of(filled, model, stack, machine.gpus_per_node)
    _refuse_format(layout.plan.precision, machine)
    training = Training(model, filled.seq_len, layout.batch_seqs)
    time, memory = step_time_of(filled, training, machine.accelerator), memory_of(filled)
    if time is None and memory is None and not row.status:
        raise Unsaid("neither time nor memory stated, nor whether it ran")
    _refuse_other_size(filled, model)
    if time:
        _refuse_faster_than_peak(filled, training, machine, time)
    return Case(
        row=row,
        training=training,
        plan=layout.plan,
        machine=machine,
        stack=stack,
        features=_features(filled, model, stack),
        facts=other_facts(filled),
        time=time,
        memory=memory,
        assumptions=(*assumed, *layout.assumptions),
    )


def _unknown_accelerator(row: MeasuredRow) -> str:
    """Say that no accelerator of the catalog is called so, and that a machine of one's own can be calibrated."""
    name = row.gpu or row.gpu_canonical
    if several := calibrations_labelled(name):
        return f"accelerator {name!r} has several calibrations; --on says which: {', '.join(o.id for o in several)}"
    if stack_of(row) == HARNESS_STACK:
        return (
            f"accelerator {name!r} has no calibration; make one: walltime measure gemm --csv kernels.csv, "
            f"then walltime calibrate kernels.csv {row.file} --name my-machine"
        )
    return f"accelerator {name!r} is not modelled"


def _refuse_format(precision: Precision, machine: Machine) -> None:
    """Refuse a number format that a calibration has no matmuls of."""
    if calibration_record(machine.accelerator) is None:
        return
    try:
        kernels(machine.accelerator).of(precision)
    except BadInput as problem:
        raise Unsaid(f"{machine.accelerator}: {problem}") from None


def _features(row: MeasuredRow, model: Transformer, stack: str) -> dict[str, Any]:
    """Return what the row and its source say of its software.

    GPT models of Megatron-Core and NeMo train with its default dropout.
    """
    features = source_features(row) | stack_features(row)
    if model.position == "learned" and stack.startswith("megatron-core"):
        features.setdefault("dropout", True)
    return features


def _refuse_other_size(row: MeasuredRow, model: Transformer) -> None:
    """Refuse stated parameters outside those of the stated dimensions, active to all, by more than a factor of two."""
    if not (row.params_b and row.n_layers and row.d_model):
        return
    least, most = num_active_parameters(model, with_embedding=False) / 1e9, num_parameters(model) / 1e9
    if not least / _OTHER_SIZE <= row.params_b <= most * _OTHER_SIZE:
        raise BadInput(f"params_b={row.params_b:g}, but the dimensions have {most:.3g} billion parameters.")


def _refuse_faster_than_peak(row: MeasuredRow, training: Training, machine: Machine, time: MeasuredTime) -> None:
    """Refuse a time in which the accelerator's dense peak, at the row's precision, cannot do the model FLOP."""
    record = parameter_set(DATASHEET).find(AcceleratorRecord, machine.accelerator)
    if record is None:
        return
    peaks = {name: peak.value for name, peak in record.peak_flop_per_s.items()}
    kind = _FORMATS.get(row.precision, row.precision)
    peak_flop_per_s = peaks.get(kind, max(peaks.values()))
    flop = model_flop_per_token(training.model, training.seq_len, "causal-attention") * training.batch_tokens
    reached = float(flop) / (row.n_gpus or 1) / time.step_time_s
    if reached > peak_flop_per_s:
        raise BadInput(
            f"faster than the accelerator's peak: {time.kind} means {format_si(reached, 'FLOP/s')} "
            f"of {format_si(peak_flop_per_s, 'FLOP/s')} of {machine.accelerator}."
        )


def cases_of(rows: Iterable[MeasuredRow], on: CalibrationRecord | None = None) -> tuple[list[Case], list[Skipped]]:
    """Return rows as cases, and the skipped ones; ``on`` as for `case_of`."""
    answers = [case_of(row, on) for row in rows]
    return [a for a in answers if isinstance(a, Case)], [a for a in answers if isinstance(a, Skipped)]


def read_cases(
    paths: Sequence[Path], *, strict: bool = True, on: CalibrationRecord | None = None
) -> tuple[list[Case], list[Skipped]]:
    """Read files of measured rows as cases, and the skipped rows; see `read_measured` and `case_of`."""
    return cases_of((row for path in paths for row in read_measured(path, strict=strict)), on)
