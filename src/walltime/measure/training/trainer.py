"""One optimizer step of a plan: microbatches through the model or a pipeline, then AdamW."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.distributed.fsdp import FSDPModule
from torch.distributed.pipelining import PipelineStage
from torch.distributed.pipelining.schedules import Schedule1F1B, ScheduleGPipe, ScheduleInterleaved1F1B
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import loss_parallel
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from walltime.measure.records import TrainRequest
from walltime.measure.training.batches import Batch
from walltime.measure.training.mesh import Mesh
from walltime.measure.training.model import Decoder
from walltime.measure.training.parallelize import decoders
from walltime.plan import Plan

_LEARNING_RATE = 3e-4
"""Of AdamW, constant; Llama 2 7B's largest (Touvron et al. 2023). What a step takes does not depend on it."""


@dataclass
class Trainer:
    """What one rank trains, and how.

    Attributes
    ----------
    plan, mesh
        How the model is split, and this rank's place.
    parts
        The whole model, or the chunks of this rank's pipeline stage.
    optimizer
        Of all their parameters.
    schedule
        The pipeline, if there is one.
    """

    plan: Plan
    mesh: Mesh
    parts: list[Decoder]
    optimizer: Any
    schedule: Any = None
    is_last_stage: bool = True

    def step(self, batch: Batch) -> Any:
        """Take one optimizer step; return this rank's mean loss, 0 where it does not compute it."""
        self.optimizer.zero_grad()
        with self._context(batch):
            loss = self._piped(batch) if self.schedule is not None else self._accumulated(batch)
        self.optimizer.step()
        return loss

    def _piped(self, batch: Batch) -> Any:
        losses: list[Any] = []
        inputs = (batch.tokens,) if self.mesh.rank("pp") == 0 else ()
        ends = {"target": batch.targets, "losses": losses} if self.is_last_stage else {}
        self.schedule.step(*inputs, **ends, return_outputs=False)
        return torch.stack([_local(loss.detach()) for loss in losses]).mean() if losses else _zero(batch)

    def _accumulated(self, batch: Batch) -> Any:
        (model,) = self.parts
        pieces = batch.micro(self.plan.micro_batch)
        total = _zero(batch)
        for index, piece in enumerate(pieces):
            if isinstance(model, FSDPModule):
                model.set_requires_all_reduce(index == len(pieces) - 1)
            loss = next_token_loss(model(piece.tokens), piece.targets) / len(pieces)
            loss.backward()
            total += _local(loss.detach())
        return total

    @contextmanager
    def _context(self, batch: Batch) -> Iterator[None]:
        """Compute losses of split logits, and attention over split sequences, where the plan splits them."""
        with ExitStack() as contexts:
            if self.plan.tp > 1:
                contexts.enter_context(loss_parallel())
            if self.plan.cp > 1:
                contexts.enter_context(sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]))
                contexts.enter_context(self._ring(batch))
            yield

    def _ring(self, batch: Batch) -> Any:
        """Return the context in which each rank has a share of the tokens, and keys and values go round."""
        from torch.distributed.tensor.experimental import context_parallel

        tables = [part.rotary_table(batch.tokens.device) for part in self.parts]
        buffers = [batch.tokens, batch.targets, *(table for table in tables if table is not None)]
        return context_parallel(
            self.mesh.along("cp"),
            buffers=buffers,
            buffer_seq_dims=[1] * len(buffers),
            no_restore_buffers={batch.tokens, batch.targets},
        )


def trainer(request: TrainRequest, mesh: Mesh, device: Any) -> Trainer:
    """Return what this rank trains under a plan, ready for its first step."""
    plan = request.plan
    parts = decoders(request, mesh, device)
    optimizer = torch.optim.AdamW(_groups(parts), lr=_LEARNING_RATE, fused=True)
    if plan.pp == 1:
        return Trainer(plan, mesh, parts, optimizer)
    group = mesh.along("pp").get_group()
    places = range(mesh.rank("pp"), plan.pp * plan.vpp, plan.pp)
    stages = [
        PipelineStage(part, place, plan.pp * plan.vpp, device, group=group)
        for part, place in zip(parts, places, strict=True)
    ]
    is_last = places[-1] == plan.pp * plan.vpp - 1
    return Trainer(plan, mesh, parts, optimizer, _schedule(request, stages), is_last)


def _schedule(request: TrainRequest, stages: list[Any]) -> Any:
    plan = request.plan
    count = request.training.batch_seqs // (plan.dp * plan.micro_batch)
    if plan.vpp > 1:
        return ScheduleInterleaved1F1B(stages, count, loss_fn=next_token_loss)
    kind: Any = ScheduleGPipe if plan.schedule == "gpipe" else Schedule1F1B
    return kind(stages[0], count, loss_fn=next_token_loss)


def _groups(parts: list[Decoder]) -> list[dict[str, Any]]:
    """Return parameters in groups that lie on the same mesh: one kernel updates those of a group together."""
    groups: dict[Any, list[Any]] = {}
    for parameter in (parameter for part in parts for parameter in part.parameters()):
        mesh = parameter.device_mesh if isinstance(parameter, DTensor) else None
        groups.setdefault(mesh, []).append(parameter)
    return [{"params": parameters} for parameters in groups.values()]


def next_token_loss(logits: Any, targets: Any) -> Any:
    """Return the mean loss of each token's successor, in 32 bits. [nat]"""
    return functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(0, 1))


def _local(x: Any) -> Any:
    return x.full_tensor() if isinstance(x, DTensor) else x


def _zero(batch: Batch) -> Any:
    return torch.zeros((), device=batch.tokens.device)
