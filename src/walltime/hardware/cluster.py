"""A cluster: one kind of accelerator, its network, and how many there are."""

from dataclasses import dataclass, replace

from walltime.catalog import DATASHEET, ClusterRecord, NetworkRecord, parameter_set
from walltime.hardware.accelerator import Accelerator
from walltime.hardware.network import Network


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
    """Return the preferred parameter set if it has this cluster, otherwise that of the datasheets."""
    return preferred if name in parameter_set(preferred) else DATASHEET


def cluster(
    name: str, num_gpus: int | None = None, *, parameters: str = DATASHEET, precision: str | None = None
) -> Cluster:
    """Return the usual cluster of an accelerator, or a cluster by its own name.

    Parameters
    ----------
    name
        Id, alias or full name of a cluster; the usual cluster of an accelerator has its name.
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
    record = numbers.get(ClusterRecord, name)
    return Cluster(
        id=record.id,
        name=record.name,
        accelerator=Accelerator.from_catalog(numbers, record.accelerator, precision),
        network=Network.from_record(numbers.get(NetworkRecord, record.network)),
        num_gpus=num_gpus,
        parameters=numbers.name,
    )
