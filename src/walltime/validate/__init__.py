"""Is it right? This build against reference values."""

from walltime.validate.comparison import EXACT, Verification
from walltime.validate.curves import CurveName, verify_frontier
from walltime.validate.reference import verify_matmul, verify_step

__all__ = ["EXACT", "CurveName", "Verification", "verify_frontier", "verify_matmul", "verify_step"]
