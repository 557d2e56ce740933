"""Decoder-only transformers: the dimensions of a model, from which parameters, FLOP and bytes follow."""

from dataclasses import dataclass
from typing import Literal

from walltime.problems import BadInput
from walltime.units import whole

Norm = Literal["rmsnorm", "layernorm"]
Position = Literal["rotary", "learned", "alibi", "none"]


@dataclass(frozen=True)
class Transformer:
    """A decoder-only transformer.

    Attributes
    ----------
    num_layers
        Transformer layers, without multi-token-prediction layers.
    d_model, d_ff
        Width of the residual stream, and of the hidden layer of a dense MLP.
    num_heads, num_kv_heads, head_dim
        Query heads; key and value heads (1 is multi-query attention); width of a head.
        Under latent attention ``head_dim`` is the query and key width with its rotary part, 192 for DeepSeek-V3.
    v_head_dim
        Width of a value head; 0 means ``head_dim``.
    vocab_size
        As published, before any padding.
    gated_mlp
        Three matrices an MLP (SwiGLU and its like) instead of two.
    tied_embeddings
        The output layer is the embedding table.
    norm, position, num_positions
        Kind of norm; kind of position encoding; rows of a learned position table.
    norms_per_layer
        Norms over d_model in a layer: 2, or 1 where attention and MLP run in parallel, or 4 (before and after).
    embedding_norm
        A norm right after the embedding (BLOOM).
    norm_bias, qkv_bias, attention_bias, mlp_bias, head_bias
        Which layers have biases: norms, the query/key/value projection, the attention's output projection, the MLP,
        the output layer.
    qk_norm_dim
        Width of the norms over queries and over keys; 0 for none. ``qk_norm_heads`` says whether each head has its own.
    attention_sinks
        One learned logit a head (gpt-oss).
    sliding_window, num_sliding_layers
        Tokens that a sliding-window layer looks back on, and how many of the layers have one.
    parallel_attention
        Attention and MLP read the same norm and add up (Falcon, GPT-J).
    q_lora_rank, kv_lora_rank, qk_rope_head_dim
        Multi-head latent attention (DeepSeek-V2): ranks of the query and key-value compression (a ``q_lora_rank`` of 0
        means an uncompressed query), and the rotary part of a head. ``kv_lora_rank`` 0 means ordinary attention.
    num_experts, top_k, d_ff_expert
        Routed experts of a mixture-of-experts layer, how many a token visits, and their hidden width.
        ``num_experts`` 0 means dense.
    num_shared_experts, d_ff_shared
        Experts that every token visits, and the hidden width of all of them together.
    shared_expert_gate
        A learned gate before the shared experts (Qwen).
    num_dense_layers
        Layers of a mixture-of-experts model with a dense MLP: leading ones, or interleaved.
    router_bias
        Biases added to the router's scores.
    expert_bias
        Biases inside routed experts (gpt-oss).
    num_mtp_layers
        Multi-token-prediction layers, each a transformer layer of the last kind with a projection of two d_model to
        one.
    """

    name: str
    num_layers: int
    d_model: int
    d_ff: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    v_head_dim: int = 0
    gated_mlp: bool = True
    tied_embeddings: bool = False
    norm: Norm = "rmsnorm"
    position: Position = "rotary"
    num_positions: int = 0
    norms_per_layer: int = 2
    embedding_norm: bool = False
    norm_bias: bool = False
    qkv_bias: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    head_bias: bool = False
    qk_norm_dim: int = 0
    qk_norm_heads: bool = False
    attention_sinks: bool = False
    sliding_window: int = 0
    num_sliding_layers: int = 0
    parallel_attention: bool = False
    q_lora_rank: int = 0
    kv_lora_rank: int = 0
    qk_rope_head_dim: int = 0
    num_experts: int = 0
    top_k: int = 0
    d_ff_expert: int = 0
    num_shared_experts: int = 0
    d_ff_shared: int = 0
    shared_expert_gate: bool = False
    num_dense_layers: int = 0
    router_bias: bool = False
    expert_bias: bool = False
    num_mtp_layers: int = 0

    def __post_init__(self) -> None:
        """Refuse dimensions that are not positive whole numbers or do not go together."""
        for name in ("num_layers", "d_model", "num_heads", "num_kv_heads", "head_dim", "vocab_size"):
            whole(getattr(self, name), name)
        if self.num_heads % self.num_kv_heads:
            raise BadInput(f"num_kv_heads={self.num_kv_heads} does not divide num_heads={self.num_heads}.")
        if self.num_experts:
            for name in ("top_k", "d_ff_expert"):
                whole(getattr(self, name), name)
            if self.top_k > self.num_experts:
                raise BadInput(f"top_k={self.top_k} is more than num_experts={self.num_experts}.")
        if self.num_moe_layers < self.num_layers:
            whole(self.d_ff, "d_ff")
        if self.num_dense_layers > self.num_layers:
            raise BadInput(f"num_dense_layers={self.num_dense_layers} is more than num_layers={self.num_layers}.")
        if self.num_sliding_layers > self.num_layers:
            raise BadInput(f"num_sliding_layers={self.num_sliding_layers} is more than num_layers={self.num_layers}.")

    @property
    def is_moe(self) -> bool:
        """Whether some layers are mixtures of experts."""
        return self.num_experts > 0

    @property
    def num_moe_layers(self) -> int:
        """Layers whose MLP is a mixture of experts."""
        return (self.num_layers - self.num_dense_layers) * (self.num_experts > 0)

    @property
    def is_latent(self) -> bool:
        """Whether attention is multi-head latent attention."""
        return self.kv_lora_rank > 0

    @property
    def value_dim(self) -> int:
        """Width of a value head."""
        return self.v_head_dim + (self.v_head_dim == 0) * self.head_dim


@dataclass(frozen=True)
class Training:
    """A model and the batch it is trained with.

    Attributes
    ----------
    model
        What is trained.
    seq_len
        Tokens in a sequence.
    batch_seqs
        Sequences in one optimizer step, over the whole cluster.
    """

    model: Transformer
    seq_len: int
    batch_seqs: int

    def __post_init__(self) -> None:
        """Refuse sizes that are not positive whole numbers."""
        whole(self.seq_len, "seq_len")
        whole(self.batch_seqs, "batch_seqs")

    @property
    def batch_tokens(self) -> int:
        """Tokens in one optimizer step."""
        return self.seq_len * self.batch_seqs
