"""Predictions for cases, many at a time: cases that share machine, software and choices are one batch of the engine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from walltime import hardware
from walltime.arrays import Floats, Indices
from walltime.engines.calibration import Calibration, calibration
from walltime.engines.stack import Stack, stack
from walltime.engines.step import StepTime, step_time
from walltime.engines.transformer import memory_numbers, usable_bytes
from walltime.engines.transformer_memory import NOT_ALLOCATED, NOT_RESERVED, memory_bytes, needed_bytes
from walltime.hardware import Cluster
from walltime.plan import RECOMPUTES, PlanBatch
from walltime.plan.plan import choices_of
from walltime.validate.cases import Case
from walltime.validate.chips import Machine
from walltime.validate.errors import Predictions
from walltime.workload import Training
from walltime.workload.stacking import stacked

_NOT_COUNTED = {"allocated": NOT_ALLOCATED, "reserved": NOT_RESERVED, "unsaid": NOT_RESERVED}
"""Parts of memory that a kind of measurement does not see."""


@dataclass(frozen=True)
class CaseBatch:
    """Cases that the engine takes together.

    Attributes
    ----------
    index : (cases,)
        Their places among all cases.
    training, plans, stack, cluster
        Arguments of the engine.
    """

    index: Indices
    training: Training
    plans: PlanBatch
    stack: Stack
    cluster: Cluster


def cluster_of(machine: Machine) -> Cluster:
    """Return a case's cluster: the accelerator's usual one, with the domain and bandwidth that the row states."""
    usual = hardware.cluster(machine.cluster or machine.accelerator)
    network = usual.network
    bytes_per_s = list(network.bytes_per_s)
    if machine.internode_bytes_per_s:
        bytes_per_s[-1] = machine.internode_bytes_per_s
    sizes = (machine.domain_gpus, *network.level_sizes[1:])[: len(network.level_sizes)]
    return replace(usual, network=replace(network, level_sizes=sizes, bytes_per_s=tuple(bytes_per_s)))


def case_batches(cases: Sequence[Case]) -> list[CaseBatch]:
    """Group cases by machine, software and the choices of their plans."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for i, case in enumerate(cases):
        choices = tuple(sorted((name, str(value)) for name, value in choices_of(case.plan).items()))
        key = (case.machine, case.stack, tuple(sorted(case.features.items())), choices)
        groups.setdefault(key, []).append(i)
    return [_batch(cases, index) for index in groups.values()]


def _batch(cases: Sequence[Case], index: list[int]) -> CaseBatch:
    first = cases[index[0]]
    return CaseBatch(
        index=np.array(index, dtype=np.intp),
        training=stacked([cases[i].training for i in index]),
        plans=PlanBatch.of([cases[i].plan for i in index]),
        stack=replace(stack(first.stack), **first.features),
        cluster=cluster_of(first.machine),
    )


Numbers = Callable[[CaseBatch], Calibration]
"""The fitted numbers with which a batch is predicted."""


def catalog_numbers(batch: CaseBatch) -> Calibration:
    """Return the catalog's numbers."""
    return calibration(batch.cluster, batch.stack.id)


def batch_step(batch: CaseBatch, numbers: Calibration) -> StepTime:
    """Return the steps of a batch, by parts."""
    return step_time(batch.training, batch.plans, batch.stack, numbers)


def step_times_s(batches: Sequence[CaseBatch], num_cases: int, numbers: Numbers = catalog_numbers) -> Floats:
    """Return the predicted step time of every case, (cases,). [s]"""
    times_s = np.full(num_cases, np.nan)
    for batch in batches:
        times_s[batch.index] = batch_step(batch, numbers(batch)).time_s
    return times_s


def predictions(cases: Sequence[Case], numbers: Numbers = catalog_numbers) -> Predictions:
    """Predict step time, memory and whether it fits.

    Memory is what the row's kind of measurement sees. Where a row does not state its recomputation, it is taken to
    fit if any recomputation makes it fit.
    """
    batches = case_batches(cases)
    memory, fits = np.full(len(cases), np.nan), np.zeros(len(cases), dtype=bool)
    for batch in batches:
        parts = _memory(batch)
        fits[batch.index] = needed_bytes(parts) <= usable_bytes(batch.cluster)
        for place, i in enumerate(batch.index):
            measured = cases[i].memory
            hidden = _NOT_COUNTED[measured.kind] if measured else ()
            memory[i] = sum(float(part[place]) for name, part in parts.items() if name not in hidden)
        unsaid = [place for place, i in enumerate(batch.index) if not cases[i].row.activation_recompute]
        if unsaid:
            fits[batch.index[unsaid]] |= _fits_somehow(batch)[unsaid]
    return Predictions(step_times_s(batches, len(cases), numbers), memory, fits)


def _memory(batch: CaseBatch) -> dict[str, Floats]:
    return memory_bytes(batch.training, batch.plans, batch.stack, memory_numbers(batch.stack.id))


def _fits_somehow(batch: CaseBatch) -> Floats:
    least = [_memory(replace(batch, plans=replace(batch.plans, recompute=kind))) for kind in RECOMPUTES]
    return np.min([needed_bytes(parts) for parts in least], axis=0) <= usable_bytes(batch.cluster)
