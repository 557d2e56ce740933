"""Memory of a training step of a real transformer: what each accelerator holds on its fullest pipeline stage."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from walltime.arrays import Floats, Numeric
from walltime.engines.stack import Stack
from walltime.physics import activations as act
from walltime.plan import PlanBatch
from walltime.plan.stages import layers_before_stage
from walltime.workload import parameters as par

STATE = ("weights", "gradients", "optimizer")
"""Parts that stay from step to step."""
ACTIVATIONS = (
    "attention_activations",
    "mlp_activations",
    "norm_activations",
    "moe_activations",
    "embedding_activations",
    "checkpoints",
)
"""Parts that wait between forward and backward pass."""
PARTS = (
    *STATE,
    *ACTIVATIONS,
    "logits_and_loss",
    "workspace",
    "communication_and_prefetch_buffers",
    "fragmentation",
    "allocator_cache",
    "framework_reserve",
)
"""Parts of an accelerator's memory in the order in which they are shown; they add up to what is used."""
RECLAIMABLE = ("allocator_cache",)
"""Parts that are given back when memory runs short; what must fit is the sum of the others."""
NOT_ALLOCATED = ("fragmentation", "allocator_cache", "framework_reserve")
"""Parts that ``torch.cuda.max_memory_allocated`` does not count."""
NOT_RESERVED = ("framework_reserve",)
"""Parts that ``torch.cuda.max_memory_reserved`` does not count."""


@dataclass(frozen=True)
class MemoryNumbers:
    """What a software stack keeps in memory, beyond what its `Stack` says.

    Attributes
    ----------
    reserve_bytes
        Device memory outside the framework's allocator: CUDA context, communicators, libraries. [B]
    workspace_bytes
        Inside the allocator, whatever the model: matmul workspaces and the like. [B]
    fragmentation, cache
        What the allocator holds and cannot use, and what it holds though it is free and could be given back, as shares
        of the memory that comes and goes.
    loss_bytes, compiled_loss_bytes, split_loss_bytes
        Logits, their gradient and copies at the worst moment of the loss, per logit: by kernels an operation, where a
        compiler made the kernels, and where each tensor-parallel rank has a share of the vocabulary. [B]
    balanced_head
        Stages are cut so that the output layer counts by its weights, instead of layers being shared out evenly.
    whole_logits
        Each tensor-parallel rank gathers all logits.
    gathered_inputs
        Under sequence parallelism, inputs of column-parallel matmuls are kept whole instead of gathered again.
    score_bytes, fused_score_bytes
        Kept per score by unfused attention and by attention with a fused softmax, without dropout. [B]
    unfused_norm_bytes
        What an unfused norm keeps per element besides its input. [B]
    eight_bit_input_bytes, eight_bit_weight_bytes
        Under fp8: kept per element of a matmul's input, and extra copies per weight of the layers. [B]
    route_copies
        Copies of d_model per routed token that a mixture-of-experts layer keeps.
    key_value_copies
        Copies of keys and values that attention keeps besides those that its kernel reads.
    keeps_weight_shard
        Under ``zero3``: a shard of the weights computed with is kept beside the optimizer's master copy.
    whole_layers
        Under ``zero3``: layers whose weights are gathered at once.
    whole_ends
        Under ``zero3``: embedding and output layer stay gathered through the step.
    bucket_bytes
        Buffers in which gradients are flattened, cast and reduced, at most one per gradient. [B]
    spare_gradient_bytes
        Stand-in gradients of one layer's matrices, and in the loss of the output layer's, per weight: what Transformer
        Engine hands to autograd where it adds the real ones to their buffers itself. [B]
    """

    reserve_bytes: float
    workspace_bytes: float
    fragmentation: float
    cache: float
    loss_bytes: float
    compiled_loss_bytes: float
    split_loss_bytes: float
    score_bytes: float
    fused_score_bytes: float
    unfused_norm_bytes: float
    eight_bit_input_bytes: float
    eight_bit_weight_bytes: float
    route_copies: float
    key_value_copies: float
    whole_layers: float
    bucket_bytes: float
    spare_gradient_bytes: float
    balanced_head: bool = False
    whole_logits: bool = False
    gathered_inputs: bool = False
    keeps_weight_shard: bool = True
    whole_ends: bool = False


def memory_bytes(training: Any, plans: PlanBatch, stack: Stack, numbers: MemoryNumbers) -> dict[str, Floats]:
    """Memory per accelerator on the fullest stage, by the `PARTS` that add up to it [B].

    Parameters
    ----------
    training : Training
        Model and batch; its numbers, and those of its model, may be arrays (plans,).
    plans, stack, numbers
        How it is split, by what software, and what that keeps.

    Returns
    -------
    dict of (plans,)
        For each plan the parts of the stage that needs most (`needed_bytes`): the first, the second or the last, since
        no other holds more than the second.
    """
    return _Memory(training, plans, stack.under(plans), numbers).fullest_stage()


def needed_bytes(parts: dict[str, Floats]) -> Floats:
    """Memory that must be there for it to run: all parts but those that can be given back [B]."""
    return np.asarray(sum(part for name, part in parts.items() if name not in RECLAIMABLE))


@dataclass(frozen=True)
class _Stages:
    """First, second (where layers differ) and last stage of each pipeline, (stages, plans)."""

    dense: Floats
    moe: Floats
    mtp: Floats
    in_flight: Floats
    is_first: Floats
    is_last: Floats


class _Memory:
    def __init__(self, training: Any, plans: PlanBatch, stack: Stack, numbers: MemoryNumbers) -> None:
        self.training, self.model = training, training.model
        self.plans, self.stack, self.numbers = plans, stack, numbers
        self.tokens = plans.micro_batch * training.seq_len / plans.cp
        self.word_bytes = plans.word_bytes
        self.over = plans.tp if plans.sequence_parallel else np.ones_like(plans.tp)
        self.inputs_over = np.ones_like(plans.tp) if numbers.gathered_inputs else self.over
        multiple = stack.vocab_multiple * plans.tp
        width = self.model.head_dim + par.value_dim(self.model)
        self.keys_and_values = self.word_bytes * self.model.num_kv_heads * width
        self.vocab_share = np.ceil(self.model.vocab_size / multiple) * stack.vocab_multiple
        self.eight_bit = plans.is_low
        self.num_microbatches = np.maximum(training.batch_seqs / (plans.dp * plans.micro_batch), 1)
        self.stages = self._stages()

    def fullest_stage(self) -> dict[str, Floats]:
        parts = {name: np.zeros_like(self.plans.tp) for name in PARTS}
        parts |= self._activations()
        parts |= self._state()
        parts |= self._loss_and_workspace()
        moving = np.asarray(sum(parts[name] for name in (*ACTIVATIONS, "logits_and_loss", "workspace")))
        parts["communication_and_prefetch_buffers"] = self._buffers(moving)
        parts["fragmentation"] = self.numbers.fragmentation * moving
        parts["allocator_cache"] = self.numbers.cache * moving
        parts["framework_reserve"] = self.numbers.reserve_bytes + np.zeros_like(self.plans.tp)
        needed = needed_bytes(parts)
        fullest = np.argmax(needed, axis=0)
        plan = np.arange(len(self.plans))
        return {name: np.broadcast_to(part, needed.shape)[fullest, plan] for name, part in parts.items()}

    def _stages(self) -> _Stages:
        """Layers and microbatches of the stages that may be fullest; dense layers lead unless they are every second."""
        m, plans = self.model, self.plans
        second = [np.minimum(1, plans.pp - 1)] if np.any(par.num_moe_layers(m)) else []
        index = np.stack([np.zeros_like(plans.pp), *second, plans.pp - 1])
        head = self.vocab_share * plans.tp * m.d_model / par.dense_layer(m) if self.numbers.balanced_head else 0
        shared_out = m.num_layers + m.num_mtp_layers + head
        before, ends = (
            np.minimum(layers_before_stage(shared_out, plans.pp, plans.vpp, at), m.num_layers)
            for at in (index, index + 1)
        )
        layers = ends - before
        num_dense = par.num_dense_mlp_layers(m)
        leading = np.clip(num_dense - before, 0, layers)
        is_interleaved = 2 * num_dense == m.num_layers
        dense = np.where(is_interleaved, layers * num_dense / m.num_layers, leading)
        is_first, is_last = index == 0, index == plans.pp - 1
        if plans.schedule in ("zb-v", "dualpipe"):
            is_first = is_last = is_first | is_last
        in_flight = act.microbatches_in_flight(plans.schedule, index, plans.pp, plans.vpp, self.num_microbatches)
        return _Stages(dense, layers - dense, is_last * m.num_mtp_layers, in_flight, 1 * is_first, 1 * is_last)

    # State

    def _layer_parameters(self) -> tuple[Numeric, Numeric, Numeric]:
        """Parameters of a dense layer, of a mixture-of-experts layer without its routed experts, and of those."""
        m, plans = self.model, self.plans
        whole = par.norms_per_layer(m)
        attention = par.attention_per_layer(m) / plans.tp + whole
        dense = attention + par.dense_mlp_per_layer(m) / plans.tp
        moe = attention + par.shared_experts_per_layer(m) / plans.tp + par.router_per_layer(m)
        return dense, moe, par.routed_experts_per_layer(m) / (plans.ep * plans.etp)

    def _end_parameters(self) -> Floats:
        """Parameters of embedding and output layer on each stage; a tied table is on both ends of a pipeline."""
        m, stages = self.model, self.stages
        table = self.vocab_share * m.d_model
        shared = stages.is_first * stages.is_last * m.tied_embeddings
        first = stages.is_first * (table + par.position(m) + m.embedding_norm * par.norm(m))
        last = stages.is_last * (par.norm(m) + m.head_bias * self.vocab_share)
        return first + last + (stages.is_last - shared) * table

    def _parameters(self) -> tuple[Floats, Floats]:
        """Parameters on each stage: those that all data-parallel ranks share, and routed experts."""
        stages, m = self.stages, self.model
        dense, moe, experts = self._layer_parameters()
        is_moe = par.num_moe_layers(m) > 0
        projection = par.mtp_projection(m) / self.plans.tp + 3 * par.norm(m)
        mtp_moe, mtp_dense = stages.mtp * is_moe, stages.mtp * (1 - is_moe)
        common = (stages.dense + mtp_dense) * dense + (stages.moe + mtp_moe) * moe + stages.mtp * projection
        routed = (stages.moe + mtp_moe) * experts
        if self.plans.schedule == "dualpipe":  # two directions: each stage holds its opposite's layers too
            common, routed = 2 * common, 2 * routed
        return common + self._end_parameters(), routed

    def _state(self) -> dict[str, Floats]:
        plans, stack, numbers = self.plans, self.stack, self.numbers
        self.common, self.routed = self._parameters()
        ranks = plans.shard * plans.cp
        expert_ranks = np.maximum(ranks * plans.tp / (plans.ep * plans.etp), 1)
        held = self.common + self.routed
        share = self.common / ranks + self.routed / expert_ranks
        stage = ("ddp", "zero1", "zero2", "zero3").index(plans.sharding)
        weights = (share if stage >= 3 else held) * stack.weight_bytes
        if stage >= 3 and not numbers.keeps_weight_shard and plans.precision != "fp32":  # which has no master copy
            weights = np.zeros_like(held)
        if self.eight_bit:
            weights = weights + held * numbers.eight_bit_weight_bytes
        gradients = (share if stage >= 2 else held) * stack.gradient_bytes
        if stage >= 3 and not plans.reshard:  # summed up whole over microbatches, like the weights
            gradients = np.where(self.num_microbatches > 1, held, share) * stack.gradient_bytes
        optimizer = (share if stage >= 1 else held) * (0 if plans.offload_optimizer else stack.optimizer_bytes)
        return {"weights": weights, "gradients": gradients, "optimizer": optimizer}

    # Activations

    def _input_bytes(self) -> float:
        return self.numbers.eight_bit_input_bytes if self.eight_bit else self.word_bytes

    def _per_rank(self, kept: act.PerToken) -> Numeric:
        return self.tokens * kept.per_rank(self.plans.tp, self.inputs_over, self.over)

    def _attention(self, *, scores: Numeric) -> Numeric:
        """Bytes of one layer's attention in one microbatch [B]."""
        m, stack, numbers, plans = self.model, self.stack, self.numbers, self.plans
        has_scores = stack.attention in ("unfused", "fused-softmax")
        per_score = numbers.fused_score_bytes if stack.attention == "fused-softmax" else numbers.score_bytes
        per_score = per_score * self.word_bytes / act.WORD
        dropped = (self.word_bytes + 1) * stack.dropout
        kept = act.attention(
            m,
            word_bytes=self.word_bytes,
            input_bytes=self._input_bytes(),
            score_bytes=(per_score + dropped) * (scores * has_scores),
            keys=self.training.seq_len,
            statistic_bytes=0 if has_scores else act.FLOAT,
            dropout=stack.dropout,
        )
        output = self.word_bytes * m.num_heads * par.value_dim(m)
        copies = numbers.key_value_copies * self.keys_and_values
        if plans.cp_algorithm == "all-to-all":  # attention's output and the projection's input are two tensors
            copies = copies + (plans.cp > 1) * output
        return self._per_rank(kept._replace(split=kept.split + copies))

    def _mlp(self, d_ff: Numeric) -> Numeric:
        stack = self.stack
        width: dict[str, Any] = {"word_bytes": self.word_bytes, "input_bytes": self._input_bytes()}
        kept = act.mlp(self.model, d_ff, **width, fused=stack.fused_activation, dropout=stack.dropout)
        return self._per_rank(kept)

    def _moe(self) -> Numeric:
        """Bytes of one layer's routed experts and router in one microbatch [B].

        Tokens are split over the tensor-parallel ranks outside experts, and over ``etp`` ranks inside.
        """
        plans = self.plans
        width: dict[str, Any] = {"word_bytes": self.word_bytes, "input_bytes": self._input_bytes()}
        kept = act.routed_experts(self.model, **width, copies=self.numbers.route_copies)
        return self._per_rank(act.PerToken(kept.split + kept.inputs * plans.etp, 0, kept.whole))

    def _layers(self) -> dict[str, tuple[Numeric, Numeric]]:
        """Bytes that one microbatch leaves in a dense and in a mixture-of-experts layer, by kind [B]."""
        m, stack = self.model, self.stack
        unfused = 0 if stack.fused_norm else self.numbers.unfused_norm_bytes
        attention = self._attention(scores=self._keeps_scores())
        norm = self._per_rank(act.norms(m, word_bytes=self.word_bytes, unfused_bytes=unfused))
        moe = self._moe()
        return {
            "attention_activations": (attention, attention),
            "mlp_activations": (self._mlp(m.d_ff), (m.d_ff_shared > 0) * self._mlp(m.d_ff_shared)),
            "norm_activations": (norm, norm),
            "moe_activations": (np.zeros_like(moe), moe),
        }

    def _keeps_scores(self) -> Numeric:
        """Whether a layer keeps the scores of unfused attention: unless they are computed again in each."""
        if self.stack.selective == "operations" or self.plans.recompute == "none":
            return True
        return self.plans.recompute_layers < 1 if self.plans.recompute == "full" else False

    def _activations(self) -> dict[str, Floats]:
        """Bytes between forward and backward pass on each stage, by kind [B]."""
        plans, stages, m = self.plans, self.stages, self.model
        layers = self._layers()
        dense_layer, moe_layer = (np.asarray(sum(kind[i] for kind in layers.values())) for i in (0, 1))
        self.one_layer = np.maximum(dense_layer, moe_layer)
        operations = plans.recompute == "selective" and self.stack.selective == "operations"
        share: Numeric = 1 if operations else plans.recompute_layers if plans.recompute == "full" else 0
        kept = act.every_second_matmul if operations else act.checkpoint
        saved = self._per_rank(kept(m, word_bytes=self.word_bytes))
        is_moe = par.num_moe_layers(m) > 0
        dense = stages.in_flight * (stages.dense + stages.mtp * (1 - is_moe))
        moe = stages.in_flight * (stages.moe + stages.mtp * is_moe)
        parts = {name: (1 - share) * (dense * kind[0] + moe * kind[1]) for name, kind in layers.items()}
        parts["checkpoints"] = share * (dense + moe) * saved
        embedding = self.tokens * m.d_model / self.over
        masks = stages.is_first * stages.in_flight * self.stack.dropout
        ends = stages.is_last * 2 * self.word_bytes * (1 + m.num_mtp_layers)  # the last norm's input and the logits'
        parts["embedding_activations"] = (masks + ends) * embedding
        self.recomputes = share
        return parts

    def _loss_and_workspace(self) -> dict[str, Floats]:
        """Logits where the loss is computed; what one layer's backward pass needs where that is more [B]."""
        m, plans, numbers = self.model, self.plans, self.numbers
        logits = self.tokens * self.vocab_share * (plans.tp if numbers.whole_logits else 1)
        one_rank = numbers.compiled_loss_bytes if self.stack.compiled else numbers.loss_bytes
        per_logit = np.where((plans.tp > 1) & (not numbers.whole_logits), numbers.split_loss_bytes, one_rank)
        spare = numbers.spare_gradient_bytes * self.vocab_share * m.d_model
        loss = self.stages.is_last * (per_logit * logits * (1 + m.num_mtp_layers) + spare)
        hidden = (2 + m.gated_mlp) * np.maximum(m.d_ff, m.top_k * m.d_ff_expert + m.d_ff_shared)
        if self.stack.attention in ("unfused", "fused-softmax"):  # gradients of scores before and after the softmax
            hidden = np.maximum(hidden, 2 * m.num_heads * self.training.seq_len)
        gradients = self.word_bytes * self.tokens * (hidden / plans.tp + 2 * m.d_model / self.inputs_over)
        again = np.where(self.recomputes > 0, self.one_layer, 0)
        return {
            "logits_and_loss": loss,
            "workspace": np.maximum(gradients + again - loss, 0) + numbers.workspace_bytes + self._spare_gradients(),
        }

    def _spare_gradients(self) -> Floats:
        """One layer's stand-in gradients, one expert's for all [B]."""
        dense, moe, _ = self._layer_parameters()
        layer = np.where(self.stages.moe > 0, moe + par.expert(self.model) / self.plans.etp, dense)
        return self.numbers.spare_gradient_bytes * layer

    def _buffers(self, moving: Floats) -> Floats:
        """Gathered weights, gradients on their way, keys and values of other context-parallel ranks [B]."""
        plans, stack, numbers = self.plans, self.stack, self.numbers
        ring = (plans.cp > 1) * 2 * self.tokens * self.keys_and_values / plans.tp
        if plans.cp_algorithm != "ring":
            ring = np.zeros_like(plans.tp)
        held = self.common + self.routed
        has_peers = plans.dp * plans.cp > 1
        if plans.sharding != "zero3":
            bucket = has_peers * np.minimum(numbers.bucket_bytes, held * stack.gradient_bytes)
            return ring + np.maximum(bucket - moving, 0)  # after the backward pass, in the activations' place
        dense, moe, experts = self._layer_parameters()
        one = np.where(self.stages.moe > 0, moe + experts, dense)
        ends = self._end_parameters()
        gathered = self.word_bytes * (numbers.whole_layers * one + numbers.whole_ends * ends)
        if not plans.reshard:
            gathered = self.word_bytes * held
        return ring + has_peers * (gathered + one * (self.word_bytes + stack.reduce_bytes))
