"""The verbs from Python: `model`, `cluster`, `estimate`, `account`, `timeline`, `search`, `scale`, `export`, ..."""

from walltime.api.frontiers import limits
from walltime.api.names import (
    PREFERRED,
    USUAL_BATCH_TOKENS,
    USUAL_SEQ_LEN,
    cluster,
    is_path,
    is_theory,
    model,
    real_model,
    seqs_of_tokens,
    theory_model,
    usual_batch_seqs,
    usual_seq_len,
    usual_space,
    usual_stack,
)
from walltime.api.plans import search
from walltime.api.sizes import scale
from walltime.api.steps import estimate, export, timeline
from walltime.economics.account import account
from walltime.economics.terms import Terms

__all__ = [
    "PREFERRED",
    "USUAL_BATCH_TOKENS",
    "USUAL_SEQ_LEN",
    "Terms",
    "account",
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
    "seqs_of_tokens",
    "theory_model",
    "timeline",
    "usual_batch_seqs",
    "usual_seq_len",
    "usual_space",
    "usual_stack",
]
