"""Calibrating one machine: every fit in turn, and the record that they make together."""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from walltime import __version__
from walltime.calibrate.machine.blocks import Source, fitted_block, rounded
from walltime.calibrate.machine.kernels import LEAST_ROWS, KernelFits, fit_kernels, kernels_of
from walltime.calibrate.machine.known import Base, Rates, base_of, rates_of, told
from walltime.calibrate.machine.network import NetworkFit, machine_network
from walltime.calibrate.machine.numbers import Prior
from walltime.calibrate.machine.power import fit_power
from walltime.calibrate.machine.processor import large_matmuls, memory_share, processor_efficiency, processor_record
from walltime.calibrate.machine.quality import Holdout, RowsFit, quality_of
from walltime.calibrate.machine.rows import MachineRows, training_rows
from walltime.calibrate.machine.toml import without_empty
from walltime.calibrate.machine.training import Progress, TrainingFit, before_errors, fit_training, machine_cases
from walltime.calibrate.machine.uses import Uses, uses_of
from walltime.catalog import AcceleratorRecord, ClusterRecord, EfficiencyRecord, Number, data_version
from walltime.catalog.calibrations import CalibrationRecord, Origin, registered
from walltime.catalog.fitted import FittedBlock
from walltime.catalog.schema import DrawRecord
from walltime.validate.cases import Skipped

_LARGE = 4096
"""Rows, columns and summed dimension of a matmul that stands for a long run of large ones on a GPU."""
_USUAL_LATENCY_S = 1e-5


@dataclass(frozen=True)
class Calibrated:
    """A calibrated machine.

    Attributes
    ----------
    record
        What goes into the file.
    uses
        What became of the rows, kind by kind.
    notes
        What a reader of the figures must mind.
    """

    record: CalibrationRecord
    uses: tuple[Uses, ...]
    notes: tuple[str, ...]


def calibrate(
    rows: MachineRows, name: str, holdout: Holdout, command: str, progress: Progress | None = None
) -> Calibrated:
    """Fit a machine to its rows.

    Parameters
    ----------
    rows
        Measured there (`walltime.calibrate.machine.rows.read_machine`).
    name
        Id of the calibration.
    holdout
        How errors on rows held out are found.
    command
        That asked for it, for the record.
    progress
        Called with how many fits of training steps are done, of how many.

    Raises
    ------
    BadInput
        No datasheet has the machine, and its kernels were not measured.
    """
    source = Source(name, {file.path: held for file, held in zip(rows.files, rows.contents, strict=True)})
    base = base_of(rows.based_on) if rows.based_on else None
    rates = rates_of(rows, base, source)
    steps = training_rows(rows)
    kernels = fit_kernels(rows, rates, base, holdout, steps[0].precision if steps else "")
    network = machine_network(rows, base, rates, source).fitted(holdout)
    draft = _draft(rows, base, rates, kernels, network, source, _origin(rows, holdout, command))
    with registered(draft):
        training, skipped = _training(rows, draft, kernels, holdout, progress)
        limit_w = float(draft.accelerator.power_w.value) if draft.accelerator.power_w else None
        power = fit_power(rows.kernels, training, limit_w, rows.based_on, holdout)
    fits = [*kernels.by_part(), *network.by_part()]
    fits += [("step time", training.fit)] if training and len(training.fit.errors) else []
    fits += [("power", power)] if power else []
    record = replace(
        draft,
        chip=_chip(training, kernels, source),
        stack=_stacks(training, source),
        draw=_draws(power, source) if power else None,
        quality=[quality_of(part, fit, holdout) for part, fit in fits],
    )
    uses = uses_of(rows, kernels, network, skipped, has_power=power is not None)
    return Calibrated(record, uses, tuple(_notes(rows, kernels, network, training, power)))


def _origin(rows: MachineRows, holdout: Holdout, command: str) -> Origin:
    return Origin(
        date=datetime.datetime.now(datetime.UTC).date(),
        command=command,
        walltime=__version__,
        data_version=data_version(),
        seed=holdout.seed,
        files=list(rows.files),
        environments=[without_empty(each) for each in rows.environments],
    )


def _draft(
    rows: MachineRows,
    base: Base | None,
    rates: Rates,
    kernels: KernelFits,
    network: NetworkFit,
    source: Source,
    origin: Origin,
) -> CalibrationRecord:
    """Return the record before training steps are fitted, so that the engine finds the machine by its id."""
    name = source.calibration
    title = base.accelerator.name if base else rows.gpu_names[0]
    return CalibrationRecord(
        schema=1,
        id=name,
        name=f"{title}, measured as {name}",
        based_on=rows.based_on,
        accelerator=_accelerator(rows, base, rates, source),
        efficiency=_efficiency(rows, base, rates, kernels, source),
        network=network.network.record,
        cluster=ClusterRecord(schema=1, id=name, name=f"{title}, measured as {name}", accelerator=name, network=name),
        kernels=kernels_of(name, kernels, base, source),
        links=network.links(source, base),
        usable_bytes=_usable_bytes(rows, base, source),
        origin=origin,
    )


def _accelerator(rows: MachineRows, base: Base | None, rates: Rates, source: Source) -> AcceleratorRecord:
    name = source.calibration
    if base is None:
        return processor_record(name, rows, rates, source)
    limit_w = told(rows, "power_limit_w")
    power_w = (
        source.measured(limit_w, "environments", "The limit that was set.") if limit_w else base.accelerator.power_w
    )
    known = base.accelerator
    own = {"id": name, "usual_cluster": name, "aliases": list(rows.gpu_names)}
    return replace(known, **own, power_w=power_w, peak_flop_per_s=rates.peaks)


def _efficiency(
    rows: MachineRows, base: Base | None, rates: Rates, kernels: KernelFits, source: Source
) -> EfficiencyRecord:
    fitted_s = [fit.kernel.latency_s for fit in kernels.matmul.values()]
    if base is None:
        latency_s = kernels.launch_s or min(fitted_s, default=_USUAL_LATENCY_S)
        return processor_efficiency(source.calibration, rows, rates, latency_s, source)
    large = large_matmuls(rows, rates, source, least=_LARGE)
    latency = source.measured(min(fitted_s), "matmuls", "As fitted.") if fitted_s else base.efficiency.matmul_latency_s
    return replace(
        base.efficiency,
        accelerator=source.calibration,
        achievable_fraction=large or base.efficiency.achievable_fraction,
        matmul_latency_s=latency,
    )


def _usable_bytes(rows: MachineRows, base: Base | None, source: Source) -> Number | None:
    """Return the memory that software may take, as PyTorch was told it; None: as of the machine it is based on. [B]"""
    if base is None:
        return memory_share(rows, source)
    told_bytes = told(rows, "gpu_memory_bytes")
    return source.measured(float(told_bytes), "environments") if told_bytes else None


def _training(
    rows: MachineRows, draft: CalibrationRecord, kernels: KernelFits, holdout: Holdout, progress: Progress | None
) -> tuple[TrainingFit | None, list[Skipped]]:
    """Fit the training rows, None without any that can be predicted; and return those that cannot be."""
    cases, skipped = machine_cases(training_rows(rows), draft)
    if not cases:
        return None, skipped
    is_cpu = not rows.based_on
    before = None if is_cpu else before_errors([case.row for case in cases])
    measured = measured_priors(kernels)
    return fit_training(cases, measured, before, holdout, is_cpu=is_cpu, progress=progress), skipped


def measured_priors(kernels: KernelFits) -> dict[str, Prior]:
    """Return what kernels by themselves say of numbers that training decides: memory's share of its bandwidth."""
    if kernels.memory is None:
        return {}
    numbers, name = kernels.memory.numbers, "memory_efficiency"
    return {name: Prior(numbers.values[name], numbers.low[name], numbers.high[name], is_share=True)}


def _chip(training: TrainingFit | None, kernels: KernelFits, source: Source) -> FittedBlock | None:
    """Return what the accelerator sustains; without training rows, what memory-bound kernels show of it."""
    if training is not None:
        numbers = training.numbers_of("chip")
        others = [name for name in training.chip if name not in numbers.values]
        return fitted_block(source, "training steps", training.chip, training.fit, others, numbers)
    if kernels.memory is None:
        return None
    values = {"memory_efficiency": kernels.memory.numbers.values["memory_efficiency"]}
    return fitted_block(source, "memory-bound kernels", values, kernels.memory)


def _stacks(training: TrainingFit | None, source: Source) -> dict[str, FittedBlock]:
    found = {}
    for stack, values in (training.stacks if training else {}).items():
        assert training is not None
        numbers = training.numbers_of(stack)
        mine = training.fit.where(training.is_of(stack))
        others = [name for name in values if name not in numbers.values]
        found[stack] = fitted_block(source, f"training steps ({stack})", values, mine, others, numbers)
    return found


def _draws(power: RowsFit, source: Source) -> DrawRecord:
    """Return the draws that rows decide; the others are those of the catalog."""
    numbers = power.numbers
    decided: dict[str, Any] = {
        name: replace(source.measured(value, "power"), low=rounded(numbers.low[name]), high=rounded(numbers.high[name]))
        for name, value in numbers.values.items()
        if name not in numbers.estimated
    }
    return DrawRecord(**decided)


def _notes(
    rows: MachineRows, kernels: KernelFits, network: NetworkFit, training: TrainingFit | None, power: RowsFit | None
) -> Iterator[str]:
    """Yield what was not measured, and what that leaves as it is."""
    whose = "the catalog's" if rows.based_on else "wide guesses"
    if rows.based_on and not kernels.matmul:
        yield f"no precision has {LEAST_ROWS} measured matmuls: kernels are {whose}."
    for kernel, taken in kernels.attention_format.items():
        yield f"{kernel} is fitted in {taken}."
    if not kernels.attention:
        yield f"attention was not measured: its numbers are {whose}."
    unmeasured = [name for name, level in zip(network.names, network.levels, strict=True) if level.fit is None]
    if unmeasured:
        yield f"no collectives across {', '.join(unmeasured)} were measured: links there are {whose}."
    if training is None:
        kept = whose if rows.based_on else "those of GPUs that are usual"
        yield f"no training steps were fitted: what software adds is {kept}."
    if power is None:
        yield "power was not measured."
    if not rows.environments:
        yield "no environments.json beside the rows: the file does not say what they were measured with."
