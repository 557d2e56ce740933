"""What a software stack can run: the choices that a plan may make in it."""

import itertools
from dataclasses import dataclass, replace
from typing import Literal

from walltime.plan import (
    CONTEXT_ALGORITHMS,
    GROUPS,
    PIPELINE_SCHEDULES,
    PRECISIONS,
    RECOMPUTES,
    SHARDINGS,
    ContextAlgorithm,
    PipelineSchedule,
    Precision,
    Recompute,
    Sharding,
)

Interleaving = Literal["any", "rounds", "none"]
"""How many microbatches an interleaved pipeline takes: any number, whole rounds of ``pp``, or there is none."""
ExpertTensor = Literal["1", "tp"]
EXPERT_TENSORS: tuple[ExpertTensor, ...] = ("1", "tp")
"""Over how many ranks tensor parallelism splits an expert: one, or all that it splits the rest of a layer over."""


def _every_order() -> tuple[tuple[str, ...], ...]:
    """Return the 24 orders of tp, cp, dp and pp on the network, the usual first; ``ep`` stands beside ``dp``."""
    orders = itertools.permutations(kind for kind in GROUPS if kind != "ep")
    return tuple(tuple(x for kind in order for x in (("ep", "dp") if kind == "dp" else (kind,))) for order in orders)


ORDERS = _every_order()


@dataclass(frozen=True)
class Capabilities:
    """What plans a software stack can run; without arguments, every plan.

    Each tuple holds what a field of `walltime.plan.Plan` may be, so that a search can walk over them.

    Attributes
    ----------
    kinds
        Kinds of parallelism that it has, of `walltime.plan.GROUPS`.
    schedules
        Pipeline schedules.
    interleaving
        How many microbatches its interleaved 1F1B takes, if it has one.
    uneven_stages
        Whether stages may hold different numbers of layers.
    shardings, pipeline_sharding
        Shardings without a pipeline, and with one.
    hybrid_shard
        Shardings whose groups may be smaller than ``dp``.
    reshard
        Under ``zero3``: whether parameters are dropped after the forward pass, whether they are kept.
    recomputes, partial_recompute
        Kinds of recomputation, and whether full recomputation may apply to a share of the layers.
    precisions
        Number formats of matmuls, as far as the accelerator has them.
    sequence_parallel, moe_sequence_parallel
        With tensor parallelism: on, off, or either; the latter for models with experts.
    cp_algorithms
        Algorithms of context parallelism.
    etp
        Tensor parallelism inside an expert: none, ``tp``, or either.
    offload_optimizer
        Whether optimizer state and step may live on the host.
    orders, folded_orders
        Orders of the kinds of parallelism on the network, innermost first; the latter where the data-parallel groups
        of experts and of the rest differ in size, that is where ``tp`` · ``cp`` is not ``etp`` · ``ep`` (without
        experts: where ``cp`` is not 1).
    """

    kinds: tuple[str, ...] = GROUPS
    schedules: tuple[PipelineSchedule, ...] = PIPELINE_SCHEDULES
    interleaving: Interleaving = "any"
    uneven_stages: bool = True
    shardings: tuple[Sharding, ...] = SHARDINGS
    pipeline_sharding: tuple[Sharding, ...] = SHARDINGS
    hybrid_shard: tuple[Sharding, ...] = SHARDINGS[1:]
    reshard: tuple[bool, ...] = (True, False)
    recomputes: tuple[Recompute, ...] = RECOMPUTES
    partial_recompute: bool = True
    precisions: tuple[Precision, ...] = PRECISIONS
    sequence_parallel: tuple[bool, ...] = (True, False)
    moe_sequence_parallel: tuple[bool, ...] = (True, False)
    cp_algorithms: tuple[ContextAlgorithm, ...] = CONTEXT_ALGORITHMS
    etp: tuple[ExpertTensor, ...] = EXPERT_TENSORS
    offload_optimizer: bool = True
    orders: tuple[tuple[str, ...], ...] = ORDERS
    folded_orders: tuple[tuple[str, ...], ...] = ORDERS

    def of_model(self, *, is_moe: bool) -> "Capabilities":
        """Return what can be run of a model with experts, or of one without."""
        return replace(self, sequence_parallel=self.moe_sequence_parallel) if is_moe else self


EVERYTHING = Capabilities()
