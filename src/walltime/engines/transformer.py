"""The engine of real models: (training, cluster, plans, stack) -> Estimate."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from walltime.arrays import Floats, Mask
from walltime.catalog.fitted import known_usable_bytes, memory_record
from walltime.engines.calibration import Calibration, calibration
from walltime.engines.estimate import Estimate
from walltime.engines.stack import Stack
from walltime.engines.step import step_time
from walltime.engines.timeline import Timeline, timeline
from walltime.engines.transformer_memory import MemoryNumbers, memory_bytes, needed_bytes
from walltime.engines.what_if import accelerator_ratios
from walltime.hardware import Cluster
from walltime.plan import PlanBatch
from walltime.problems import BadInput
from walltime.workload import Training
from walltime.workload.flop import CONVENTIONS, Convention, flop_parts, model_flop_per_token
from walltime.workload.parameters import output_projection


@dataclass(frozen=True, repr=False)
class TransformerEstimate(Estimate):
    """A step of a transformer; memory is that of the fullest accelerator.

    Attributes
    ----------
    plans
        What was asked.
    training, stack
        What is trained, by what software.
    convention
        How model FLOP are counted (`walltime.workload.flop`).
    peak_flop_per_s
        Dense peak at the precision of the plans' matmuls. [FLOP/s]
    hardware_flop
        FLOP of a step that accelerators do, recomputation included, (plans,).
    numbers
        The fitted numbers that it stands on.
    """

    plans: PlanBatch
    training: Training
    stack: Stack
    convention: Convention
    peak_flop_per_s: float
    hardware_flop: Floats
    numbers: Calibration

    @property
    def utilization(self) -> Floats:
        """Model FLOP/s utilisation, (plans,): model FLOP over the dense peak at the plans' precision."""
        return np.asarray(self.step_flop / (self.peak_flop_per_s * self.plans.num_gpus) / self.time_s)

    @property
    def hardware_utilization(self) -> Floats:
        """Hardware FLOP/s utilisation, (plans,): recomputation counts."""
        return np.asarray(self.hardware_flop / (self.peak_flop_per_s * self.plans.num_gpus) / self.time_s)

    @property
    def tokens_per_s(self) -> Floats:
        """Tokens that the whole cluster trains on in a second, (plans,). [tokens/s]"""
        return np.asarray(self.training.batch_tokens / self.time_s)

    @property
    def needed_bytes(self) -> Floats:
        """Memory that must be there on the fullest accelerator, (plans,). [B]"""
        return needed_bytes(dict(self.memory_bytes))

    @property
    def fits(self) -> Mask:
        """Whether the plan fits the fullest accelerator, (plans,)."""
        return np.asarray(self.needed_bytes <= self.memory_capacity_bytes)

    def timeline(self, index: int = 0) -> Timeline:
        """Return what each pipeline stage does in a step of one of the plans, and when."""
        return timeline(self.training, self.cluster, self.plans.plan(index), self.stack, numbers=self.numbers)

    def to_rows(self) -> list[dict[str, object]]:
        """One flat dictionary a plan, units in the keys."""
        rows = super().to_rows()
        for i, row in enumerate(rows):
            row["hardware_utilization"] = float(self.hardware_utilization[i])
            row["tokens_per_s"] = float(self.tokens_per_s[i])
            row["memory_bytes"] = float(self.needed_bytes[i])
        return rows


def estimate(
    training: Training,
    cluster: Cluster,
    plans: PlanBatch,
    stack: Stack,
    *,
    numbers: Calibration | None = None,
    convention: Convention = "causal-attention",
    num_steps: float = 1.0,
) -> TransformerEstimate:
    """Estimate a training step under each plan of a batch.

    Parameters
    ----------
    training
        Model, sequence length and batch.
    cluster
        Accelerators and their network.
    plans
        They divide model, batch and cluster (`walltime.plan.check_plan`).
    stack
        Training software.
    numbers
        Fitted numbers; those of the catalog by default.
    convention
        How model FLOP are counted. Utilisation is never above 1: a convention that counts more FLOP than accelerators
        do is refused where it would be.
    num_steps
        Steps of the whole run.

    Raises
    ------
    BadInput
        A convention that counts all experts, though a token meets few; or one by which utilisation is above 1.

    Approximations
    --------------
    Layers of a kind are all alike; experts have equally many tokens; stages differ only in layers, embedding and
    output layer; communication overlaps computation by fitted shares. docs: What this does not model.
    """
    _check_experts_counted(training, convention)
    numbers = numbers or calibration(cluster, stack.id)
    step = step_time(training, plans, stack, numbers)
    flop = training.batch_tokens * model_flop_per_token(training.model, training.seq_len, convention)
    memory = memory_bytes(training, plans, stack, memory_numbers(stack.id))
    found = TransformerEstimate(
        plans=plans,
        cluster=cluster,
        parts_s=step.parts_s,
        busy_s=step.busy_s,
        lower_s=step.lower_s,
        upper_s=step.upper_s,
        memory_bytes=memory,
        memory_capacity_bytes=usable_bytes(cluster) + np.zeros_like(plans.tp),
        step_flop=float(flop),
        num_steps=num_steps,
        training=training,
        stack=stack,
        convention=convention,
        peak_flop_per_s=numbers.kernels.of(plans.precision)[1],
        hardware_flop=flop + _recomputed_flop(training, plans, stack, convention),
        numbers=numbers,
    )
    _check_utilization(found)
    return found


def _check_experts_counted(training: Training, convention: Convention) -> None:
    """Refuse to call FLOP of experts that a token does not meet utilisation."""
    model = training.model
    if convention == "6N" and model.is_moe:
        raise BadInput(
            f"convention={convention} counts all {model.num_experts} experts of {model.name}, and a token meets "
            f"{model.top_k}: that is no utilisation. Valid: {', '.join(_others(convention))}."
        )


def _check_utilization(found: TransformerEstimate) -> None:
    """Refuse a convention that counts more than kernels do where it makes utilisation more than all there is.

    Kernels do at least what ``causal-attention`` counts, so that one is never refused.
    """
    model, seq_len = found.training.model, found.training.seq_len
    done = found.training.batch_tokens * model_flop_per_token(model, seq_len, "causal-attention")
    if found.step_flop <= done:
        return
    largest = float(np.max([found.utilization * found.time_s / found.lower_s, found.hardware_utilization]))
    if largest > 1:
        raise BadInput(
            f"convention={found.convention} counts {found.step_flop / done:.3g} times the FLOP that {model.name} needs "
            f"at seq_len={seq_len}: utilisation would reach {largest:.0%}. Valid: causal-attention."
        )


def _others(convention: Convention) -> list[Convention]:
    return [name for name in CONVENTIONS if name != convention]


def _recomputed_flop(training: Training, plans: PlanBatch, stack: Stack, convention: Convention) -> Floats:
    """FLOP of a step that recomputation repeats: what `walltime.engines.layer` runs again, never the output layer."""
    causal = convention in ("6N", "6N-active-without-embedding", "causal-attention")
    model, parts = training.model, flop_parts(training.model, training.seq_len, causal=causal)
    downward = parts.dense_mlp / (2 + model.gated_mlp)
    if plans.recompute == "none":
        again = 0.0
    elif plans.recompute == "full":
        again = parts.total - parts.head - downward * stack.early_stop
    elif stack.selective == "attention":
        again = parts.attention_scores
    else:
        outward = 2 * model.num_layers * output_projection(model)
        experts = (parts.routed_experts + parts.shared_experts) / (2 + model.gated_mlp)
        again = parts.total - parts.head - parts.attention_scores - outward - downward - experts
    share = plans.recompute_layers if plans.recompute == "full" else 1
    return np.asarray(training.batch_tokens * again * share + np.zeros_like(plans.tp))


def memory_numbers(stack_id: str) -> MemoryNumbers:
    """Return what a stack keeps in memory; that of ``generic`` where nothing is known."""
    blocks = memory_record().stack
    values: dict[str, Any] = dict(blocks.get(stack_id, blocks["generic"]).values)
    flags = {field.name for field in fields(MemoryNumbers) if field.type in (bool, "bool")}
    return MemoryNumbers(**{name: bool(value) if name in flags else value for name, value in values.items()})


def usable_bytes(cluster: Cluster) -> float:
    """Memory of an accelerator that software can use [B]: as its driver prints it, else the datasheet's capacity."""
    usable = known_usable_bytes(cluster.accelerator.id)
    return float(usable.value) * accelerator_ratios(cluster).memory if usable else cluster.accelerator.hbm_bytes
