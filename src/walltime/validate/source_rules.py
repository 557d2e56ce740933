"""What is known of a source beyond its rows: which sources belong together, and what its rows leave out.

Facts stand in another place of the source, which is named. Assumptions stand nowhere: a case lists them as such.
Nothing here is fitted.
"""

import re
from typing import Any

from walltime.validate.measured import MeasuredRow

_GROUPS: tuple[tuple[str, str], ...] = (
    (r"dgxc_benchmarking|nemo_docs.*|nemo_user_guide", "nvidia-nemo"),
    (r"torchtitan|torchao", "torchtitan"),
    (r"megatron_lm_2021|korthikanti2022", "megatron-2021-2022"),
)
_SC21: dict[str, dict[str, int]] = {
    "1.7": {"micro_batch": 16, "vpp": 1},
    "3.6": {"micro_batch": 16, "vpp": 1},
    "7.5": {"micro_batch": 16, "vpp": 1},
    "18.4": {"micro_batch": 8, "vpp": 1},
    "39.1": {"micro_batch": 4, "vpp": 1},
    "76.1": {"micro_batch": 2, "vpp": 3},
    "145.6": {"micro_batch": 2, "vpp": 2},
    "290.8": {"micro_batch": 1, "vpp": 2},
    "310.1": {"micro_batch": 1, "vpp": 2},
    "529.6": {"micro_batch": 1, "vpp": 3},
    "1008": {"micro_batch": 1, "vpp": 1},
}
"""Megatron-LM, ``examples/sc21/run_table_1.sh``: micro-batches, and model chunks a stage from layers a virtual stage.

290.8 is not there, only in the table of January 2021, and is assumed to be like 310.1.
"""


_CLUSTERS: dict[str, str] = {
    "nanotron_playbook": "p5-h100",  # Hugging Face's cluster: AWS p5 with EFA
    "internevo": "internevo-a100",  # the table's heading: 4 x 100 Gb/s RoCE a server
    "megatron_lm_2021": "selene",  # Narayanan et al. (2021), section 5
    "korthikanti2022": "selene",  # section 6
}


def cluster_known(source_id: str) -> str:
    """Return the catalog's cluster that a source ran on, or nothing where it is not known."""
    return _CLUSTERS.get(source_id, "")


def source_features(row: MeasuredRow) -> dict[str, Any]:
    """Return what a source's software was, by field of `walltime.engines.stack.Stack`, where its rows do not say.

    llm-foundry's tables for the A100 are of May 2023, before FlashAttention 2; those for the H100 are later. NVIDIA's
    performance recipes reduce gradients in 16 bits (``grad_reduce_in_fp32 = False`` in NeMo's and Megatron-Bridge's).
    The artifact of vocabulary parallelism runs Megatron-LM's own kernels with flash attention and no dropout.
    """
    if row.source_id == "llmfoundry" and "A100" in row.gpu:
        return {"attention": "flash1"}
    if source_group(row.source_id) == "nvidia-nemo" or row.source_id == "megatron_bridge":
        return {"gradient_bytes": 2.0, "reduce_bytes": 2.0}
    if row.source_id == "vocab_parallel":
        return {"attention": "flash2", "dropout": False}
    return {}


def source_group(source_id: str) -> str:
    """Return the name under which related sources are left out together: same team, same hardware."""
    return next((group for pattern, group in _GROUPS if re.fullmatch(pattern, source_id)), source_id)


def left_out_facts(row: MeasuredRow) -> dict[str, Any]:
    """Return columns that the row leaves empty and its source states elsewhere, by column."""
    facts: dict[str, Any] = {}
    if row.source_id == "megatron_lm_2021" and row.params_b and "2021-04" in row.framework:
        facts |= _SC21.get(f"{row.params_b:g}", {})
    return _only_empty(row, facts)


def assumed_columns(row: MeasuredRow) -> dict[str, Any]:
    """Return columns that the row leaves empty and that are assumed, for this source only, by column."""
    assumed: dict[str, Any] = {}
    if row.source_id == "megatron_lm_2021" and row.params_b and "2021-01" in row.framework:
        # Micro-batches as three months later; no interleaving, which is newer than this table.
        assumed |= _SC21.get(f"{row.params_b:g}", {}) | {"vpp": 1}
    if row.source_id == "korthikanti2022" and row.model_name == "GPT 530B" and row.dp == 8:
        # The abstract gives only the number of GPUs: every pipeline as in the 280-GPU rows of table 5.
        assumed |= {"global_batch_seqs": 8 * 280, "micro_batch": 1, "vpp": 3}
    if row.source_id == "dgxc_benchmarking" and row.model_name == "Nemotron4-340B":
        assumed |= {"vpp": 12}  # as the rows of the tags before and after have it for the same layout
    if row.source_id == "nemo_docs_longctx":
        assumed |= {"micro_batch": 1}  # sequences there are up to a million tokens long
    return _only_empty(row, assumed)


def _only_empty(row: MeasuredRow, columns: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in columns.items() if getattr(row, name) is None}


def left_out_words(row: MeasuredRow) -> str:
    """Return what the source says elsewhere in words, to be read with the row's notes."""
    if row.source_id == "simumax_b200" and (row.cp or 1) > 1:
        return "cp a2a"  # notes of the file that source_ref names: "dense CP long-seq a2a perf-vs-real rows"
    return ""
