"""Plans for real models, as arrays: degrees of parallelism, microbatches, sharding, schedule, recomputation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np

from walltime.arrays import Floats, Indices, Mask
from walltime.problems import BadInput, unknown
from walltime.units import whole

PipelineSchedule = Literal["gpipe", "1f1b", "zb-h1", "zb-h2", "zb-v", "dualpipe"]
PIPELINE_SCHEDULES: tuple[PipelineSchedule, ...] = ("gpipe", "1f1b", "zb-h1", "zb-h2", "zb-v", "dualpipe")
"""``1f1b`` includes its interleaved form (``vpp`` > 1)."""
Sharding = Literal["ddp", "zero1", "zero2", "zero3"]
SHARDINGS: tuple[Sharding, ...] = ("ddp", "zero1", "zero2", "zero3")
"""What data-parallel ranks share out: nothing, optimizer state, gradients too, parameters too (FSDP)."""
Recompute = Literal["none", "selective", "full"]
RECOMPUTES: tuple[Recompute, ...] = ("none", "selective", "full")
Precision = Literal["bf16", "fp16", "fp8", "fp8-block", "mxfp8", "nvfp4", "fp32"]
PRECISIONS: tuple[Precision, ...] = ("bf16", "fp16", "fp8", "fp8-block", "mxfp8", "nvfp4", "fp32")
"""Number format of the linear layers' matmuls; ``fp8`` is scaled by tensor, ``fp8-block``, ``mxfp8`` and ``nvfp4`` by
block. Everything else is in 16 bits, or under ``fp32``, as IEEE has it, in 32."""
WORD_BYTES = 2
"""Bytes of an element of activations in 16 bits. [B]"""
ContextAlgorithm = Literal["ring", "all-to-all"]
CONTEXT_ALGORITHMS: tuple[ContextAlgorithm, ...] = ("ring", "all-to-all")
GROUPS = ("tp", "cp", "ep", "dp", "pp")
"""Kinds of parallelism in their usual order on the network, innermost first; ``ep`` lies inside ``dp``."""

_DEGREES = ("tp", "cp", "dp", "pp", "ep", "etp", "shard", "micro_batch", "vpp")
_CHOICES = {
    "schedule": PIPELINE_SCHEDULES,
    "sharding": SHARDINGS,
    "recompute": RECOMPUTES,
    "precision": PRECISIONS,
    "cp_algorithm": CONTEXT_ALGORITHMS,
}


@dataclass(frozen=True)
class Plan:
    """One way to train a transformer on many accelerators; tp · cp · pp · dp is their number.

    Attributes
    ----------
    tp, cp, dp, pp
        Degrees of tensor, context, data and pipeline parallelism.
    ep, etp
        Expert parallelism, taken out of dp (and cp); tensor parallelism inside an expert, 1 or ``tp``.
    shard
        Data-parallel ranks over which state is shared out: all of them (0), or fewer (hybrid shard).
    micro_batch
        Sequences that a pipeline works on at a time.
    vpp
        Model chunks a pipeline stage holds (interleaving).
    schedule, sharding, recompute, precision, cp_algorithm
        See the tuples of this module.
    sequence_parallel
        Norms, dropout and residuals are split along the sequence over the tensor-parallel ranks.
    reshard
        Under ``zero3``: parameters are dropped after the forward pass and gathered again in the backward pass.
    recompute_layers
        Share of the layers that ``full`` recomputation applies to.
    offload_optimizer
        Optimizer state and step live on the host.
    gradient_bytes
        Width of the gradients that are kept and reduced; 0 means what the software stack does. [B]
    order
        Kinds of parallelism as they are laid out on the network, innermost first.
    """

    tp: int = 1
    cp: int = 1
    dp: int = 1
    pp: int = 1
    ep: int = 1
    etp: int = 1
    shard: int = 0
    micro_batch: int = 1
    vpp: int = 1
    schedule: PipelineSchedule = "1f1b"
    sharding: Sharding = "zero1"
    recompute: Recompute = "none"
    precision: Precision = "bf16"
    cp_algorithm: ContextAlgorithm = "ring"
    sequence_parallel: bool = True
    reshard: bool = True
    recompute_layers: float = 1.0
    offload_optimizer: bool = False
    gradient_bytes: int = 0
    order: tuple[str, ...] = GROUPS

    def __post_init__(self) -> None:
        """Refuse degrees that are not positive whole numbers, and unknown choices."""
        for name in _DEGREES:
            if name != "shard" or self.shard:
                whole(getattr(self, name), name)
        for name, valid in _CHOICES.items():
            if getattr(self, name) not in valid:
                raise unknown(name, getattr(self, name), valid)
        if sorted(self.order) != sorted(GROUPS):
            raise BadInput(f"order={','.join(self.order)} must name each of {', '.join(GROUPS)} once.")

    @property
    def num_gpus(self) -> int:
        """Accelerators that the plan occupies."""
        return self.tp * self.cp * self.dp * self.pp

    def __str__(self) -> str:
        shown = {"tp": self.tp, "cp": self.cp, "ep": self.ep, "etp": self.etp, "pp": self.pp, "dp": self.dp}
        degrees = " ".join(f"{name} {degree}" for name, degree in shown.items() if degree > 1 or name == "dp")
        return ", ".join([degrees, f"micro-batch {self.micro_batch}", *self._choices(), self.precision])

    def _choices(self) -> Iterator[str]:
        """Say what was chosen, leaving out what is usual."""
        yield self.sharding
        if 0 < self.shard < self.dp and self.sharding != "ddp":
            yield f"over {self.shard} ranks"
        if self.sharding == "zero3" and not self.reshard:
            yield "parameters kept"
        if self.pp > 1:
            yield f"interleaved 1f1b x{self.vpp}" if self.vpp > 1 and self.schedule == "1f1b" else self.schedule
        if self.tp > 1 and not self.sequence_parallel:
            yield "no sequence parallelism"
        if self.cp > 1 and self.cp_algorithm != "ring":
            yield f"{self.cp_algorithm} context"
        if self.recompute != "none":
            part = f" of {self.recompute_layers:.0%}" if self.recompute == "full" and self.recompute_layers < 1 else ""
            yield f"{self.recompute} recomputation{part}"
        if self.offload_optimizer:
            yield "optimizer on the host"
        if self.order != GROUPS:
            yield f"order {','.join(self.order)}"


@dataclass(frozen=True)
class PlanBatch:
    """Many plans that share their choices, as arrays.

    Attributes
    ----------
    tp, cp, dp, pp, ep, etp, shard, micro_batch, vpp, recompute_layers : (plans,)
        Whole numbers held as float64, as `Plan` has them; ``shard`` is never 0 here.
    schedule, sharding, recompute, precision, cp_algorithm, sequence_parallel, reshard, offload_optimizer,
    gradient_bytes, order
        Shared by the batch.
    """

    tp: Floats
    cp: Floats
    dp: Floats
    pp: Floats
    ep: Floats
    etp: Floats
    shard: Floats
    micro_batch: Floats
    vpp: Floats
    recompute_layers: Floats
    schedule: PipelineSchedule = "1f1b"
    sharding: Sharding = "zero1"
    recompute: Recompute = "none"
    precision: Precision = "bf16"
    cp_algorithm: ContextAlgorithm = "ring"
    sequence_parallel: bool = True
    reshard: bool = True
    offload_optimizer: bool = False
    gradient_bytes: int = 0
    order: tuple[str, ...] = GROUPS

    def __len__(self) -> int:
        return len(self.tp)

    @property
    def word_bytes(self) -> int:
        """Bytes of an element of activations. [B]"""
        return 2 * WORD_BYTES if self.precision == "fp32" else WORD_BYTES

    @property
    def is_low(self) -> bool:
        """Whether matmuls are in 8 or 4 bits."""
        return self.precision not in ("bf16", "fp16", "fp32")

    @property
    def usual_precision(self) -> Precision:
        """Number format of the matmuls that low precision leaves as they are: attention's and the output layer's."""
        return "fp32" if self.precision == "fp32" else "bf16"

    @property
    def num_gpus(self) -> Floats:
        """Accelerators of each plan, (plans,)."""
        return self.tp * self.cp * self.dp * self.pp

    def take(self, index: Indices | Mask | slice) -> "PlanBatch":
        """Return some of the plans."""
        return replace(self, **{name: getattr(self, name)[index] for name in (*_DEGREES, "recompute_layers")})

    def plan(self, index: int) -> Plan:
        """Return one plan by itself."""
        choices = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in (*_DEGREES, "recompute_layers")}
        degrees: dict[str, Any] = {name: int(getattr(self, name)[index]) for name in _DEGREES}
        return Plan(**degrees, recompute_layers=float(self.recompute_layers[index]), **choices)

    @classmethod
    def of(cls, plans: Sequence[Plan]) -> "PlanBatch":
        """Stack plans that share their choices.

        Raises
        ------
        BadInput
            The plans do not share a schedule, sharding, recomputation, precision or another choice.
        """
        first = choices_of(plans[0])
        if any(choices_of(plan) != first for plan in plans):
            raise BadInput(f"plans in one batch must share {', '.join(first)}.")
        degrees: dict[str, Any] = {}
        for name in _DEGREES:
            degrees[name] = np.array([getattr(p, name) for p in plans], dtype=np.float64)
        degrees["shard"] = np.where(degrees["shard"] == 0, degrees["dp"], degrees["shard"])
        layers = np.array([p.recompute_layers for p in plans], dtype=np.float64)
        return cls(**degrees, recompute_layers=layers, **first)


def choices_of(plan: Plan) -> dict[str, Any]:
    """Return what plans of one batch share."""
    return {f.name: getattr(plan, f.name) for f in fields(Plan) if f.name not in (*_DEGREES, "recompute_layers")}
