"""The verbs from Python: `model`, `cluster`, `estimate`, `timeline`, `search`, `scale`, `export`, `limits`."""

from walltime.api.frontiers import limits
from walltime.api.names import (
    PREFERRED,
    USUAL_SEQ_LEN,
    USUAL_STACK,
    cluster,
    is_path,
    is_theory,
    model,
    real_model,
    theory_model,
    usual_seq_len,
    usual_space,
)
from walltime.api.plans import search
from walltime.api.sizes import scale
from walltime.api.steps import estimate, export, timeline

__all__ = [
    "PREFERRED",
    "USUAL_SEQ_LEN",
    "USUAL_STACK",
    "cluster",
    "estimate",
    "export",
    "is_path",
    "is_theory",
    "limits",
    "model",
    "real_model",
    "scale",
    "search",
    "theory_model",
    "timeline",
    "usual_seq_len",
    "usual_space",
]
