"""A decoder, or a pipeline's pieces of it, under a plan: split over tensor ranks, then shared out over data ranks."""

import itertools
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from walltime.measure.records import TrainRequest
from walltime.measure.training.mesh import Mesh, num_shards
from walltime.measure.training.model import Decoder
from walltime.measure.training.stages import layers_of_chunks
from walltime.measure.training.tensor_parallel import split_over_ranks
from walltime.measure.training.weights import give_weights
from walltime.plan import Plan


def decoders(request: TrainRequest, mesh: Mesh, device: Any) -> list[Decoder]:
    """Return what this rank trains: the model, or its pipeline stage's chunks, with their first weights."""
    plan, model = request.plan, request.training.model
    chunks = layers_of_chunks(model.num_layers, plan.pp * plan.vpp)
    mine = range(mesh.rank("pp"), len(chunks), plan.pp)
    return [_decoder(request, mesh, device, chunks[chunk]) for chunk in mine]


def _decoder(request: TrainRequest, mesh: Mesh, device: Any, indices: range) -> Decoder:
    plan = request.plan
    with torch.device("meta"):
        decoder = Decoder(request.training, plan, indices)
    if plan.tp > 1:
        split_over_ranks(decoder, mesh.along("tp"), sequence_parallel=plan.sequence_parallel)
    if request.compiled:
        for block in decoder.layers.values():
            block.compile()
    if is_sharded(plan):
        _share_out(decoder, mesh, request.seed, device)
    else:
        give_weights(decoder, "", request.seed, device)
    return decoder


def is_sharded(plan: Plan) -> bool:
    """Whether parameters go through FSDP2: shared out, replicated, or computed with in 16 bits beside 32."""
    return plan.dp * plan.cp > 1 or plan.precision != "fp32"


def _share_out(decoder: Decoder, mesh: Mesh, seed: int, device: Any) -> None:
    """Give each piece its weights and share them out at once, so that no rank ever holds the whole model.

    Pieces as usual: every layer, the embedding, and the final norm with the output layer, which are needed right again
    in the backward pass. Replicas, which share nothing out, gather nothing twice.
    """
    plan = mesh.plan
    options: dict[str, Any] = {"mesh": mesh.data}
    if plan.precision == "bf16":
        options["mp_policy"] = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    drops = plan.reshard and num_shards(plan) * plan.cp > 1
    for name, block in decoder.layers.items():
        give_weights(block, f"layers.{name}.", seed, device)
        fully_shard(block, reshard_after_forward=drops, **options)
    give_weights(decoder, "", seed, device)
    if decoder.embedding is not None and not decoder.is_tied:
        fully_shard(decoder.embedding, reshard_after_forward=drops, **options)
    if decoder.head is not None and decoder.norm is not None and not decoder.is_tied:
        fully_shard([decoder.norm, decoder.head], reshard_after_forward=False, **options)
    fully_shard(decoder, reshard_after_forward=False, **options)
    _prefetch(list(decoder.layers.values()))


def _prefetch(blocks: list[nn.Module]) -> None:
    """Gather the next layer's parameters while a layer computes, forward and backward."""
    for block, following in itertools.pairwise(blocks):
        assert isinstance(block, FSDPModule)
        assert isinstance(following, FSDPModule)
        block.set_modules_to_forward_prefetch([following])
        following.set_modules_to_backward_prefetch([block])
