"""Parameters of a transformer, part by part, to the unit.

Every function is written elementwise: the fields of the model may be numbers (a `Transformer`, giving exact Python
integers) or arrays with axis plans (`walltime.workload.stacking.stacked`).
"""

from dataclasses import dataclass, fields
from typing import Any

from walltime.workload.transformer import Transformer

Dimensions = Transformer
"""A model, or many whose fields are arrays (plans,)."""
Count = Any
"""A whole number, or an array of them (plans,)."""


@dataclass(frozen=True)
class ParameterParts:
    """Parameters of a whole model by part; `total` is their sum.

    Attributes
    ----------
    embedding, position
        Token embedding and learned position table.
    attention
        Projections of all layers with their biases, query and key norms, compression norms and sinks.
    dense_mlp
        MLPs of the dense layers.
    router, routed_experts, shared_experts
        Of the mixture-of-experts layers.
    norms
        Norms over d_model in the layers, after the embedding and before the head.
    head
        Output layer; its biases only where it is the embedding table.
    mtp
        Multi-token-prediction layers with their projections and norms; embedding and head are the model's own.
    """

    embedding: Count
    position: Count
    attention: Count
    dense_mlp: Count
    router: Count
    routed_experts: Count
    shared_experts: Count
    norms: Count
    head: Count
    mtp: Count

    @property
    def total(self) -> Count:
        """Sum of all parts."""
        return sum(self.by_name().values())

    def by_name(self) -> dict[str, Count]:
        """Return each part by its name."""
        return {part.name: getattr(self, part.name) for part in fields(self)}


def value_dim(model: Dimensions) -> Count:
    """Width of a value head."""
    return model.v_head_dim + (model.v_head_dim == 0) * model.head_dim


def num_moe_layers(model: Dimensions) -> Count:
    """Layers whose MLP is a mixture of experts."""
    return (model.num_experts > 0) * (model.num_layers - model.num_dense_layers)


def num_dense_mlp_layers(model: Dimensions) -> Count:
    """Layers with a dense MLP."""
    return model.num_layers - num_moe_layers(model)


def query_projection(model: Dimensions) -> Count:
    """Weights that make queries in one layer: one matrix, or two through the compressed query."""
    width = model.num_heads * model.head_dim
    rank = model.q_lora_rank
    return (rank == 0) * model.d_model * width + rank * (model.d_model + width)


def key_value_projection(model: Dimensions) -> Count:
    """Weights that make keys and values in one layer: two matrices, or the two of latent attention.

    References
    ----------
    DeepSeek-AI (2024), DeepSeek-V2, eqs. (9)-(19): a token keeps ``kv_lora_rank`` numbers and one rotary key for all
    heads; keys (without the rotary part) and values are made from the former.
    """
    ordinary = model.d_model * model.num_kv_heads * (model.head_dim + value_dim(model))
    rank, rotary = model.kv_lora_rank, model.qk_rope_head_dim
    expanded = model.num_heads * (model.head_dim - rotary + value_dim(model))
    latent = model.d_model * (rank + rotary) + rank * expanded
    return (rank == 0) * ordinary + (rank > 0) * latent


def output_projection(model: Dimensions) -> Count:
    """Weights of the attention's output projection in one layer."""
    return model.num_heads * value_dim(model) * model.d_model


def attention_weights(model: Dimensions) -> Count:
    """Weights of the matrices of one layer's attention."""
    return query_projection(model) + key_value_projection(model) + output_projection(model)


def attention_vectors(model: Dimensions) -> Count:
    """Biases, query and key norms, compression norms and sinks of one layer's attention."""
    latent = model.kv_lora_rank > 0
    ordinary_bias = model.num_heads * model.head_dim + model.num_kv_heads * (model.head_dim + value_dim(model))
    latent_bias = model.q_lora_rank + model.kv_lora_rank + model.qk_rope_head_dim
    bias = model.qkv_bias * ((1 - latent) * ordinary_bias + latent * latent_bias)
    shared = 1 - 1 * model.qk_norm_heads
    qk_norm = model.qk_norm_dim * (2 * shared + model.qk_norm_heads * (model.num_heads + model.num_kv_heads))
    compression_norms = model.q_lora_rank + model.kv_lora_rank
    sinks = model.attention_sinks * model.num_heads
    return bias + model.attention_bias * model.d_model + qk_norm + compression_norms + sinks


def attention_per_layer(model: Dimensions) -> Count:
    """Parameters of one layer's attention."""
    return attention_weights(model) + attention_vectors(model)


def mlp_weights(model: Dimensions, d_ff: Count) -> Count:
    """Weights of the matrices of an MLP: three when gated, else two."""
    return (2 + model.gated_mlp) * model.d_model * d_ff


def _mlp_biases(model: Dimensions, d_ff: Count) -> Count:
    return (1 + model.gated_mlp) * d_ff + model.d_model


def dense_mlp_per_layer(model: Dimensions) -> Count:
    """Parameters of one dense MLP."""
    return mlp_weights(model, model.d_ff) + model.mlp_bias * _mlp_biases(model, model.d_ff)


def router_per_layer(model: Dimensions) -> Count:
    """Parameters of the router of one mixture-of-experts layer."""
    return model.num_experts * (model.d_model + model.router_bias)


def expert(model: Dimensions) -> Count:
    """Parameters of one routed expert."""
    return mlp_weights(model, model.d_ff_expert) + model.expert_bias * _mlp_biases(model, model.d_ff_expert)


def routed_experts_per_layer(model: Dimensions) -> Count:
    """Parameters of all routed experts of one mixture-of-experts layer."""
    return model.num_experts * expert(model)


def active_experts_per_layer(model: Dimensions) -> Count:
    """Parameters of the routed experts that one token visits in one mixture-of-experts layer."""
    return model.top_k * expert(model)


def shared_experts_per_layer(model: Dimensions) -> Count:
    """Parameters of the shared experts of one mixture-of-experts layer, with their gate."""
    return mlp_weights(model, model.d_ff_shared) + model.shared_expert_gate * model.d_model


def norm(model: Dimensions) -> Count:
    """Parameters of one norm over d_model."""
    return model.d_model * (1 + model.norm_bias)


def norms_per_layer(model: Dimensions) -> Count:
    """Parameters of one layer's norms over d_model."""
    return model.norms_per_layer * norm(model)


def dense_layer(model: Dimensions) -> Count:
    """Parameters of one layer with a dense MLP."""
    return attention_per_layer(model) + norms_per_layer(model) + dense_mlp_per_layer(model)


def moe_layer(model: Dimensions, *, active: bool = False) -> Count:
    """Parameters of one mixture-of-experts layer: all of them, or those that one token meets."""
    experts = active_experts_per_layer(model) if active else routed_experts_per_layer(model)
    mlp = router_per_layer(model) + experts + shared_experts_per_layer(model)
    return attention_per_layer(model) + norms_per_layer(model) + mlp


def layer_parameters(model: Dimensions) -> dict[str, Count]:
    """Parameters of one layer by kind: ``dense`` and ``moe``; a model may have layers of only one kind."""
    return {"dense": dense_layer(model), "moe": moe_layer(model)}


def mtp_layer(model: Dimensions, *, active: bool = False) -> Count:
    """Parameters of one multi-token-prediction layer.

    A transformer layer of the last kind, a projection of the two normed inputs together to one, and a norm before
    the shared head.

    References
    ----------
    DeepSeek-AI (2024), DeepSeek-V3, sec. 2.2, eqs. (21)-(23).
    """
    is_moe = num_moe_layers(model) > 0
    layer = is_moe * moe_layer(model, active=active) + (1 - is_moe) * dense_layer(model)
    return layer + mtp_projection(model) + 3 * norm(model)


def mtp_projection(model: Dimensions) -> Count:
    """Weights of the projection that joins hidden state and embedding in one multi-token-prediction layer."""
    return 2 * model.d_model * model.d_model


def embedding(model: Dimensions) -> Count:
    """Parameters of the token embedding, with the vocabulary as published."""
    return model.vocab_size * model.d_model


def position(model: Dimensions) -> Count:
    """Parameters of the learned position table."""
    return model.num_positions * model.d_model


def head(model: Dimensions) -> Count:
    """Parameters of the output layer that are not those of the embedding."""
    return (1 - 1 * model.tied_embeddings) * embedding(model) + model.head_bias * model.vocab_size


def parameter_parts(model: Dimensions, *, active: bool = False) -> ParameterParts:
    """Parameters of the whole model by part.

    Parameters
    ----------
    model
        A model, or many stacked.
    active
        Count only the routed experts that one token visits.
    """
    moe, dense = num_moe_layers(model), num_dense_mlp_layers(model)
    experts = active_experts_per_layer(model) if active else routed_experts_per_layer(model)
    return ParameterParts(
        embedding=embedding(model),
        position=position(model),
        attention=model.num_layers * attention_per_layer(model),
        dense_mlp=dense * dense_mlp_per_layer(model),
        router=moe * router_per_layer(model),
        routed_experts=moe * experts,
        shared_experts=moe * shared_experts_per_layer(model),
        norms=model.num_layers * norms_per_layer(model) + (1 + model.embedding_norm) * norm(model),
        head=head(model),
        mtp=model.num_mtp_layers * mtp_layer(model, active=active),
    )


def num_parameters(model: Dimensions, *, with_mtp: bool = True) -> Count:
    """Parameters of the whole model; publishers usually leave the multi-token-prediction layers out.

    Examples
    --------
    >>> gpt2 = Transformer("GPT-2", 12, 768, 3072, 12, 12, 64, 50257, gated_mlp=False, tied_embeddings=True,
    ...     norm="layernorm", position="learned", num_positions=1024, norm_bias=True, qkv_bias=True,
    ...     attention_bias=True, mlp_bias=True)
    >>> num_parameters(gpt2)
    124439808
    """
    parts = parameter_parts(model)
    return parts.total - (0 if with_mtp else parts.mtp)


def num_active_parameters(model: Dimensions, *, with_embedding: bool = True, with_mtp: bool = True) -> Count:
    """Parameters that one token meets.

    Parameters
    ----------
    model
        A model, or many stacked.
    with_embedding
        Count the token and position tables, of which a token reads one row each. A tied table stays where it is
        counted: as the head it is multiplied with, so without the tables it is still counted once.
    with_mtp
        Count the multi-token-prediction layers.
    """
    parts = parameter_parts(model, active=True)
    total = parts.total - (0 if with_mtp else parts.mtp)
    untied = 1 - 1 * model.tied_embeddings
    return total if with_embedding else total - untied * parts.embedding - parts.position
