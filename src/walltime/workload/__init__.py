"""WHAT is computed: workloads, their parameters and FLOP."""

from walltime.workload.mlp_stack import MlpStack
from walltime.workload.transformer import Training, Transformer

__all__ = ["MlpStack", "Training", "Transformer"]
