"""WHAT is computed: workloads, their parameters and FLOP."""

from walltime.workload.mlp_stack import MlpStack

__all__ = ["MlpStack"]
