"""A whole step from physics: ``(workload, cluster, plans, assumptions) -> Estimate``."""

from walltime.engines.assumptions import FIXES, Assumptions
from walltime.engines.erdil import StepTerms, estimate, matmul_device, step_terms, traffic_terms
from walltime.engines.estimate import Estimate

__all__ = ["FIXES", "Assumptions", "Estimate", "StepTerms", "estimate", "matmul_device", "step_terms", "traffic_terms"]
