"""Clusters as the transformer engine takes them: with the numbers of the datasheets, which its own stand beside."""

from dataclasses import replace

from walltime import hardware
from walltime.catalog import DATASHEET, parameter_set
from walltime.hardware import Cluster
from walltime.problems import BadInput

_UNUSED = ("l2_bytes", "l2_bytes_per_s")


def known_cluster(cluster: Cluster) -> Cluster:
    """Return a cluster with the datasheets' numbers: itself, or the one of the same name for another study's.

    Raises
    ------
    BadInput
        Numbers of another study that were changed or whose cluster no datasheet has, or a changed number that the
        engine does not use.
    """
    known = cluster if cluster.parameters == DATASHEET else _from_datasheets(cluster)
    chip = known.accelerator
    usual = hardware.cluster(chip.id, precision=chip.precision).accelerator
    for name in _UNUSED:
        if getattr(chip, name) != getattr(usual, name):
            raise BadInput(
                f"accelerator.{name}={getattr(chip, name):g} was set, but the transformer engine does not use it: its "
                "kernels were measured. Valid: peak, memory, memory_bandwidth, and the network."
            )
    return known


def _from_datasheets(cluster: Cluster) -> Cluster:
    if cluster.id not in parameter_set(cluster.parameters):  # from a file: the network is the user's own
        chip = hardware.cluster(cluster.accelerator.id, precision=cluster.accelerator.precision).accelerator
        return replace(cluster, accelerator=chip, parameters=DATASHEET)
    precision = cluster.accelerator.precision
    usual = hardware.cluster(cluster.id, cluster.num_gpus, parameters=cluster.parameters, precision=precision)
    if usual != cluster or cluster.id not in parameter_set(DATASHEET):
        raise BadInput(
            f"the numbers of {cluster.parameters} are the theory's. Valid for real models: parameters='datasheet'."
        )
    return hardware.cluster(cluster.id, cluster.num_gpus, precision=precision)
