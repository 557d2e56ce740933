"""From a measured row's columns and its model's name to a `Transformer`."""

import re
from dataclasses import replace
from typing import Any

from walltime.problems import BadInput
from walltime.validate.families import Family, family_of, known_size
from walltime.validate.measured import MeasuredRow
from walltime.validate.notes import number_after, says
from walltime.workload import Transformer
from walltime.workload.catalog import transformer
from walltime.workload.parameters import num_parameters

_EQUAL, _DIFFERENT = 5e-3, 2e-2
"""Relative differences of parameter counts that are one number printed, and that are not."""
_MULTIPLE = 256
"""To which Llama rounds the width of its MLP."""


class Unsaid(Exception):
    """A row lacks what a prediction needs, or describes what is not modelled; the text says what."""


def transformer_of(row: MeasuredRow) -> Transformer:
    """Return the model of a measured row.

    Columns decide; the family of the model's name fills in what has no column (norms, biases, positions, latent
    attention, shared experts, dense layers, sliding windows); a model of no known family has a gated MLP or a plain
    one, whichever brings its parameters nearer to ``params_b``, or by the ratio of d_ff to d_model. A row without any
    dimension has the model of the catalog whose id, alias (its Hugging Face repository, say) or full name it gives.

    Raises
    ------
    Unsaid
        Not a transformer, or its dimensions are not given.
    """
    if says_hybrid(row):
        raise Unsaid("not a pure transformer (state-space layers)")
    if says(row, r"\bq?lora\b") or "lora" in row.model_name.lower():
        raise Unsaid("low-rank adapters are not modelled")
    if listed := _of_the_catalog(row):
        return listed
    family = family_of(row.model_name)
    sizes = _sizes(row)
    num_layers, d_model, num_heads = sizes["num_layers"], sizes["d_model"], sizes["num_heads"]
    fixed: dict[str, Any] = dict(family.fields) if family else {}
    head_dim = fixed.pop("head_dim", d_model // num_heads)
    kv_heads = sizes["num_kv_heads"] or (family.kv_heads if family else 0) or num_heads
    vocab_size = row.vocab or (family.vocab if family else 0)
    if not vocab_size:
        raise Unsaid("vocabulary not stated")
    fields = {
        "name": row.model_name,
        "num_layers": num_layers,
        "d_model": d_model,
        "num_heads": num_heads,
        "num_kv_heads": num_heads if "kv_lora_rank" in fixed else kv_heads,
        "head_dim": head_dim,
        "vocab_size": vocab_size,
        **fixed,
    }
    if family and family.sliding_every:
        fields["num_sliding_layers"] = num_layers // family.sliding_every
    if fields.get("position") == "learned":
        fields["num_positions"] = row.seq_len or 0
    fields |= _mlp(row, sizes["d_ff"], family)
    fields |= _said_in_words(row)
    model = _judged(row, fields) if family is None else Transformer(**fields)
    return model if "tied_embeddings" in _said_in_words(row) else _tied_as_counted(row, model)


def _of_the_catalog(row: MeasuredRow) -> Transformer | None:
    """Return the catalog's model of this name where the row has no dimensions, None if it has or there is none."""
    if any((row.n_layers, row.d_model, row.d_ff, row.n_heads, row.n_kv_heads, row.n_experts)):
        return None
    if known_size(row.model_name):
        return None
    try:
        model = transformer(re.sub(r"[\s_]+", "-", row.model_name.strip()))
    except BadInput:
        return None
    mtp_layers = model.num_mtp_layers * _with_mtp(row)
    return replace(model, vocab_size=row.vocab or model.vocab_size, num_mtp_layers=mtp_layers)


def _tied_as_counted(row: MeasuredRow, model: Transformer) -> Transformer:
    """Return the model with tied or untied embeddings, whichever has the printed number of parameters."""
    other = replace(model, tied_embeddings=not model.tied_embeddings)
    if row.params_b is None or float(f"{row.params_b:.2g}") == row.params_b:
        return model
    errors = [abs(num_parameters(m, with_mtp=False) / (row.params_b * 1e9) - 1) for m in (model, other)]
    return other if errors[1] < _EQUAL and errors[0] > _DIFFERENT else model


def says_hybrid(row: MeasuredRow) -> bool:
    """Return whether the row is about a model with other than attention layers."""
    name = row.model_name.lower()
    return any(word in name for word in ("mamba", "hybrid", "ssm", "nemotron-h", "jamba", "rwkv"))


def _sizes(row: MeasuredRow) -> dict[str, int]:
    known = known_size(row.model_name) or (0, 0, 0, 0, 0)
    names = ("num_layers", "d_model", "d_ff", "num_heads", "num_kv_heads")
    columns = (row.n_layers, row.d_model, row.d_ff, row.n_heads, row.n_kv_heads)
    sizes = {name: given or usual for name, given, usual in zip(names, columns, known, strict=True)}
    for name, column in (("num_layers", "n_layers"), ("d_model", "d_model"), ("num_heads", "n_heads")):
        if not sizes[name]:
            raise Unsaid(f"{column} not stated")
    return sizes


def _mlp(row: MeasuredRow, d_ff: int, family: Family | None) -> dict[str, Any]:
    gated = family is None or family.fields.get("gated_mlp", True)
    width = d_ff or _usual_d_ff(row.d_model or 0, gated=gated)
    if not row.n_experts:
        return {"d_ff": width}
    if not row.top_k:
        raise Unsaid("top_k not stated")
    shared = family.num_shared_experts if family else number_after(row, (r"(\d+) shared experts?",)) or 0
    dense = number_after(row, (r"dense layers d_ff (\d+)", r"dense (?:first )?layers (?:d_ff )?(\d{4,})"))
    return {
        "num_experts": row.n_experts,
        "top_k": row.top_k,
        "d_ff_expert": width,
        "num_shared_experts": shared,
        "d_ff_shared": shared * width,
        "d_ff": dense or (family.d_ff_dense if family else 0) or width,
        "num_dense_layers": _dense_layers(row, family),
    }


def _dense_layers(row: MeasuredRow, family: Family | None) -> int:
    layers = row.n_layers or 0
    said = number_after(row, (r"(\d+) dense first layers", r"first (\d+) layers? dense", r"dense_layers[=: ]+(\d+)"))
    if said is not None:
        return min(said, layers)
    if family is None:
        return 0
    if family.interleaved_moe:
        return layers - layers // family.interleaved_moe
    if "truncated" in row.model_name.lower() and family.dense_layers:
        return 1  # one dense layer is left: SimuMax's release notes say so for DeepSeek-V3
    return min(family.dense_layers, layers)


def _said_in_words(row: MeasuredRow) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if says(row, r"untied embedding"):
        said["tied_embeddings"] = False
    elif says(row, r"\btied embedding"):
        said["tied_embeddings"] = True
    if says(row, r"parallel (?:transformer )?(?:block|attention and mlp)"):
        said |= {"parallel_attention": True, "norms_per_layer": 1}
    if window := number_after(
        row, (r"sliding[- ]window[a-z ]*(?:of |[=: ]+)?(\d{2,})", r"sliding_window[=: ]+(\d{2,})")
    ):
        said |= {"sliding_window": window, "num_sliding_layers": row.n_layers or 0}
    if "mla" in row.text.lower() or "deepseek-v3" in row.model_name.lower():
        said["num_mtp_layers"] = int(_with_mtp(row))
    return {name: value for name, value in said.items() if value or name != "num_mtp_layers"}


def _with_mtp(row: MeasuredRow) -> bool:
    """Whether a DeepSeek-V3 trains its multi-token-prediction layer.

    Its authors' runs and NVIDIA's recipes (whose FLOP per token, about 260 GFLOP, include it) do, unless the row says
    "w/o MTP".
    """
    if says(row, r"w/o mtp|without mtp|no mtp"):
        return False
    recipes = any(word in row.framework.lower() for word in ("nemo", "megatron-bridge", "megatron-core", "hai-llm"))
    trains = recipes and "deepseek-v3" in row.model_name.lower().replace(" ", "-")
    return trains or says(row, r"w/ mtp|with mtp|mtp[=: ]+1")


def _usual_d_ff(d_model: int, *, gated: bool) -> int:
    if not gated:
        return 4 * d_model
    return -(-8 * d_model // 3 // _MULTIPLE) * _MULTIPLE


def _judged(row: MeasuredRow, fields: dict[str, Any]) -> Transformer:
    biases = dict.fromkeys(("norm_bias", "qkv_bias", "attention_bias", "mlp_bias"), True)
    plain: dict[str, Any] = {"gated_mlp": False, "norm": "layernorm", "tied_embeddings": True, **biases}
    gated_model, plain_model = Transformer(**fields), Transformer(**(plain | fields))
    if row.params_b is None or row.n_experts:
        wide = fields["d_ff"] >= 4 * fields["d_model"] and fields["num_kv_heads"] == fields["num_heads"]
        return plain_model if wide and not row.n_experts else gated_model
    published = row.params_b * 1e9

    def distance(model: Transformer) -> float:
        return abs(num_parameters(model) - published)

    return min(gated_model, plain_model, key=distance)
