"""The reliability of a cluster from the catalog, with the range of what is estimated."""

from collections.abc import Mapping

from walltime.catalog import Number
from walltime.catalog.calibrations import calibration_record, kin_of
from walltime.catalog.failures import failures_record
from walltime.economics.reliability import Reliability
from walltime.engines.stack import Stack
from walltime.hardware import Cluster
from walltime.physics.failures import slow_share
from walltime.problems import BadInput, unknown
from walltime.units import positive, whole
from walltime.workload.parameters import num_parameters
from walltime.workload.transformer import Transformer

_LESS_IS_WORSE = ("mtbf_s", "bytes_per_s", "bytes_per_s_per_gpu")


def reliability_numbers(cluster: Cluster) -> dict[str, Number]:
    """Return what the catalog knows of a cluster's failures and recovery, by name, with its provenance.

    Parameters
    ----------
    cluster
        A cluster; what is not known of its accelerator is the default's.
    """
    record = failures_record()
    parts = record.parts_of(cluster.accelerator.id)
    groups = (parts, record.recovery, record.checkpoint, record.stragglers)
    return {name: getattr(group, name) for group in groups for name in group.__struct_fields__}


def is_known(cluster: Cluster) -> bool:
    """Whether anything is known of how often a cluster fails: nothing of one measured that no datasheet has."""
    own = calibration_record(cluster.accelerator.id)
    return own is None or bool(own.based_on)


def gpus_per_node(cluster: Cluster) -> int:
    """Return how many accelerators fail with their host: all that fast links join, unless these join hosts."""
    known = failures_record().gpus_per_node.get(kin_of(cluster.accelerator.id))
    if known is not None:
        return int(known.value)
    joined = 1
    for size in cluster.network.level_sizes:
        joined *= size
    return joined


def checkpoint_bytes(model: Transformer, stack: Stack) -> float:
    """Bytes of a checkpoint: weights and everything that the optimizer keeps, once [B].

    Parameters
    ----------
    model
        What is trained.
    stack
        The software stack, which decides the bytes a parameter.
    """
    return float(num_parameters(model)) * (stack.weight_bytes + stack.optimizer_bytes)


def reliability(
    cluster: Cluster,
    checkpoint_bytes: float,
    num_gpus: int | None = None,
    *,
    asynchronous: bool = True,
    values: Mapping[str, float] | None = None,
) -> Reliability:
    """Return the reliability of a cluster from the catalog.

    Checkpoints are written by all accelerators together, and read as fast as written.

    Parameters
    ----------
    cluster
        On what is trained.
    checkpoint_bytes
        Bytes of one checkpoint, of the whole model. [B]
    num_gpus
        Accelerators that write it; the cluster's by default.
    asynchronous
        Whether training goes on once the state is in the hosts' memory, and the write follows in the background.
    values
        Numbers instead of the catalog's, by the names of `reliability_numbers`, in SI units.

    Raises
    ------
    BadInput
        An unknown name, a value that is not positive, or no number of accelerators.

    Examples
    --------
    >>> from walltime.hardware import cluster
    >>> llama3 = reliability(cluster("h100-sxm", 16_384), 405e9 * 14)
    >>> float(llama3.effective_share(16_384)).__round__(2)
    0.92
    """
    known = {name: float(number.value) for name, number in reliability_numbers(cluster).items()}
    for name, value in (values or {}).items():
        if name not in known:
            raise unknown("number of reliability", name, known)
        known[name] = positive(value, name)
    size = positive(checkpoint_bytes, "checkpoint_bytes") / _num_gpus(cluster, num_gpus)
    stored_s = size / known["storage_bytes_per_s_per_gpu"]
    copied_s = size / known["host_bytes_per_s"]
    return Reliability(
        gpu_mtbf_s=known["gpu_mtbf_s"],
        node_mtbf_s=known["node_mtbf_s"],
        gpus_per_node=gpus_per_node(cluster),
        restart_s=known["detection_s"] + known["startup_s"] + stored_s,
        checkpoint_s=known["pause_s"] + (copied_s if asynchronous else stored_s),
        write_s=stored_s if asynchronous else 0.0,
        repair_s=known["repair_s"],
        slow_share=slow_share(known["slow_mtbf_s"], known["eviction_s"]),
        slow_by=known["slow_by"],
    )


def reliability_range(
    cluster: Cluster, checkpoint_bytes: float, num_gpus: int | None = None, *, asynchronous: bool = True
) -> tuple[Reliability, Reliability]:
    """Return the reliability where every estimate is at its worse end, and where every one is at its better end.

    Parameters
    ----------
    cluster, checkpoint_bytes, num_gpus, asynchronous
        As in `reliability`.
    """
    numbers = reliability_numbers(cluster)
    ends = []
    for better in (False, True):
        values = {name: _end(name, number, better) for name, number in numbers.items()}
        ends.append(reliability(cluster, checkpoint_bytes, num_gpus, asynchronous=asynchronous, values=values))
    return ends[0], ends[1]


def _end(name: str, number: Number, better: bool) -> float:
    """Return the better or the worse end of an estimate; a number that has no range is itself."""
    high_end = name.endswith(_LESS_IS_WORSE) == better
    end = number.high if high_end else number.low
    return float(number.value if end is None else end)


def _num_gpus(cluster: Cluster, num_gpus: int | None) -> int:
    """Return the accelerators that write a checkpoint."""
    chosen = cluster.num_gpus if num_gpus is None else num_gpus
    if chosen is None:
        raise BadInput("num_gpus is not known. Valid: a cluster of a number of accelerators, or num_gpus.")
    return whole(chosen, "num_gpus")
