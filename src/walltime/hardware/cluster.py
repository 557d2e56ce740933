"""A cluster: one kind of accelerator, its network, and how many there are."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from walltime.catalog import (
    DATASHEET,
    AcceleratorRecord,
    ClusterRecord,
    NetworkRecord,
    ParameterSet,
    parameter_set,
    parameter_sets,
)
from walltime.hardware.accelerator import Accelerator
from walltime.hardware.network import Network
from walltime.problems import BadInput, unknown


@dataclass(frozen=True)
class Cluster:
    """Accelerators on a network. ``num_gpus`` is None where the number is what is being asked for."""

    id: str
    name: str
    accelerator: Accelerator
    network: Network
    num_gpus: int | None = None
    parameters: str = DATASHEET

    def with_num_gpus(self, num_gpus: int) -> "Cluster":
        """Return the same kind of cluster with another number of accelerators."""
        return replace(self, num_gpus=num_gpus)


def resolve_parameters(name: str, preferred: str) -> str:
    """Return the preferred parameter set if it has this cluster or accelerator, otherwise that of the datasheets."""
    return preferred if name in parameter_set(preferred) else DATASHEET


def cluster(
    name: str, num_gpus: int | None = None, *, parameters: str = DATASHEET, precision: str | None = None
) -> Cluster:
    """Return the usual cluster of an accelerator, or a cluster by its own name.

    Parameters
    ----------
    name
        Id, alias or full name of a cluster, or of an accelerator, which means its usual cluster.
    num_gpus
        How many accelerators, if that is known.
    parameters
        Whose numbers: ``datasheet`` or a parameter set such as ``Erdil2024``.
    precision
        A precision that the accelerator has; 16-bit by default.

    Raises
    ------
    BadInput
        Unknown cluster, parameter set or precision.

    Examples
    --------
    >>> cluster("h100-sxm", 1024, parameters="Erdil2024").network.level_sizes
    (8,)
    """
    numbers = parameter_set(parameters)
    record = _record(numbers, name)
    return Cluster(
        id=record.id,
        name=record.name,
        accelerator=Accelerator.from_catalog(numbers, record.accelerator, precision),
        network=Network.from_record(numbers.get(NetworkRecord, record.network)),
        num_gpus=num_gpus,
        parameters=numbers.name,
    )


def _record(numbers: ParameterSet, name: str) -> ClusterRecord:
    """Find a cluster, or the usual one of an accelerator."""
    found = numbers.find(ClusterRecord, name)
    if found is not None:
        return found
    chip = numbers.find(AcceleratorRecord, name)
    if chip is None:
        raise missing(numbers, (ClusterRecord, AcceleratorRecord), "accelerator or cluster", name, "clusters")
    return numbers.get(ClusterRecord, chip.usual_cluster)


def missing(numbers: ParameterSet, kinds: Sequence[type[Any]], what: str, name: str, folder: str) -> BadInput:
    """Say that a parameter set has no record of this name: whose numbers do, or else the nearest name.

    Parameters
    ----------
    numbers
        The parameter set that was looked in.
    kinds
        The kinds of record that the name might have been of.
    what, name
        What was asked for, in the words of the person who asked.
    folder
        What ``walltime show`` lists.
    """
    for other in parameter_sets():
        if any(parameter_set(other).find(kind, name) for kind in kinds):
            return BadInput(f"the numbers of {numbers.name} have no {what} {name!r}. Valid: --parameters {other}.")
    names = [label for kind in kinds for label in numbers.names(kind)]
    return unknown(what, name, names, see=f"walltime show {folder}")
