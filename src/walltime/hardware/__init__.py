"""ON WHAT a model is trained: accelerators, networks of levels, clusters."""

from walltime.hardware.accelerator import Accelerator
from walltime.hardware.cluster import Cluster, cluster, resolve_parameters
from walltime.hardware.cluster_file import cluster_from_file
from walltime.hardware.network import Network
from walltime.hardware.overrides import override

__all__ = ["Accelerator", "Cluster", "Network", "cluster", "cluster_from_file", "override", "resolve_parameters"]
