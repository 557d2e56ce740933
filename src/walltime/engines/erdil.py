"""The engine of Erdil & Schneider-Joseph (2024): one step of an MLP stack from matmuls, collectives and latency."""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from walltime.arrays import Floats, Indices, Numeric
from walltime.catalog import parameter_set
from walltime.engines.assumptions import Assumptions
from walltime.engines.estimate import Estimate
from walltime.hardware import Accelerator, Cluster, Network
from walltime.physics.collectives import all_reduce_bytes, all_reduce_latency_s
from walltime.physics.matmul import MatmulDevice, mlp_layer_matmul_time_s
from walltime.physics.memory import optimizer_bytes, weight_bytes
from walltime.physics.pipeline import interface_crossings
from walltime.plan import MlpPlanBatch, Schedule, bubble_stretch
from walltime.workload import MlpStack


@functools.cache
def _matmul_constants() -> dict[str, float]:
    return parameter_set("Erdil2024").study().values("matmul")


def matmul_device(accelerator: Accelerator, assumptions: Assumptions) -> MatmulDevice:
    """Return the accelerator as the matmul model sees it: usable capacities, sustained rates.

    References
    ----------
    Erdil & Schneider-Joseph (2024), published program; docs: Matmul.
    """
    constants = _matmul_constants()
    usable = constants["usable_cache_fraction"]
    sm_bytes = usable * accelerator.register_bytes_per_sm
    registers = sm_bytes * accelerator.num_sms if assumptions.v100_register_capacity else sm_bytes
    return MatmulDevice(
        flop_per_s=accelerator.achievable_flop_per_s,
        hbm_bytes_per_s=accelerator.hbm_bytes_per_s,
        l2_bytes_per_s=accelerator.l2_bytes_per_s,
        shared_memory_bytes_per_s=accelerator.shared_memory_bytes_per_s,
        cache_bytes=max(usable * accelerator.l2_bytes, registers),
        sm_bytes=sm_bytes,
        num_sms=accelerator.num_sms,
        block_bytes=sm_bytes / accelerator.register_blocks_per_sm,
        num_blocks=accelerator.register_blocks_per_sm * accelerator.num_sms,
        shares_tiles=accelerator.distributed_shared_memory,
        tile=constants["tensor_core_tile"],
        latency_s=accelerator.matmul_latency_s,
        word_bytes=accelerator.word_bytes,
        counts_all_matrices=assumptions.residency_counts_all_matrices,
    )


class TrafficTerms(NamedTuple):
    """How long the network works in one step, (plans,). [s]"""

    tp_s: Floats
    pp_s: Floats
    dp_s: Floats
    tp_latency_s: Floats
    pp_latency_s: Floats
    dp_latency_s: Floats


@dataclass(frozen=True)
class StepTerms:
    """How long each resource works in one step, before anything overlaps, (plans,). [s]"""

    matmul_s: Floats
    tp_s: Floats
    pp_s: Floats
    dp_s: Floats
    tp_latency_s: Floats
    pp_latency_s: Floats
    dp_latency_s: Floats
    bubble_stretch: Numeric

    @property
    def pipeline_latency_s(self) -> Floats:
        """Latency of one microbatch's way through the layers and back [s], (plans,)."""
        return self.tp_latency_s + self.pp_latency_s

    def take(self, index: Indices) -> "StepTerms":
        """Return the terms of some of the plans."""
        return StepTerms(*(term[index] if np.ndim(term) else term for term in vars(self).values()))

    def pipeline_s(self, schedule: Schedule, assumptions: Assumptions) -> Floats:
        """Time of the pipeline: arithmetic with what it hides, the bubble, and latency where it is not hidden."""
        network_s = assumptions.overlap_tp * self.tp_s + assumptions.overlap_pp * self.pp_s
        if schedule == "zero-bubble" and assumptions.zero_bubble_latency_order:
            network_s = np.maximum(network_s, self.pipeline_latency_s)
        exposed_s = (1 - assumptions.overlap_tp) * self.tp_s + (1 - assumptions.overlap_pp) * self.pp_s
        steady_s = (np.maximum(self.matmul_s, network_s) + exposed_s) * self.bubble_stretch
        return steady_s if schedule == "zero-bubble" else steady_s + self.pipeline_latency_s

    def step_s(self, schedule: Schedule, assumptions: Assumptions) -> Floats:
        """Time of the step, everything joined."""
        pipeline_s = self.pipeline_s(schedule, assumptions)
        joined = np.maximum(pipeline_s, self.dp_s) if assumptions.overlap_dp else pipeline_s + self.dp_s
        return joined + self.dp_latency_s


def step_terms(
    workload: MlpStack,
    device: MatmulDevice,
    network: Network,
    plans: MlpPlanBatch,
    tokens: Floats | None = None,
) -> StepTerms:
    """Evaluate every term of a step for a batch of plans.

    Parameters
    ----------
    workload
        The model and its batch.
    device
        From `matmul_device`.
    network
        With as many levels as the plans are placed on.
    plans
        A batch of plans; their product is the size of the cluster.
    tokens : (plans,), optional
        Tokens that one expert sees in one microbatch, if not an equal share of the batch.

    Approximations
    --------------
    Shares that do not divide are rounded down, as published; `walltime.plan` refuses such plans at the door.

    References
    ----------
    Erdil & Schneider-Joseph (2024), published program; docs: Step.
    """
    total = plans.totals()
    traffic = traffic_terms(workload, device.word_bytes, network, plans)
    stretch = bubble_stretch(plans.schedule, total["pp"], plans.num_microbatches, plans.interleave)
    return StepTerms(_matmul_s(workload, device, plans, total, tokens), *traffic, stretch)


def traffic_terms(workload: MlpStack, word_bytes: float, network: Network, plans: MlpPlanBatch) -> TrafficTerms:
    """Evaluate the network's terms of a step, which do not depend on the number of microbatches.

    References
    ----------
    Erdil & Schneider-Joseph (2024), published program; docs: Collectives, Pipeline, Experts.
    """
    traffic = _Traffic(workload, word_bytes, network, plans)
    tp_s, tp_latency_s = traffic.tensor_parallel()
    pp_s, pp_latency_s = traffic.point_to_point()
    dp_s, dp_latency_s = traffic.data_parallel()
    again = 3 / 2 if plans.recompute else 1
    return TrafficTerms(again * tp_s, again * pp_s, dp_s, again * tp_latency_s, again * pp_latency_s, dp_latency_s)


def _matmul_s(
    workload: MlpStack, device: MatmulDevice, plans: MlpPlanBatch, total: dict[str, Floats], tokens: Floats | None
) -> Floats:
    """Time of all matmuls on one accelerator: its layers, experts and microbatches."""
    experts = workload.num_experts
    shard_ff = np.floor(workload.d_ff / total["tp_ff"])
    shard_model = np.floor(workload.d_model / total["tp_model"])
    if tokens is None:
        tokens = np.floor(workload.batch_tokens / (total["dp"] * plans.num_microbatches * experts))
    held = np.floor(workload.num_layers / total["pp"]) * np.floor(experts / total["ep"])
    num_matrices = 2 * held if device.counts_all_matrices else 1
    layer_s = mlp_layer_matmul_time_s(device, shard_ff, shard_model, tokens, num_matrices)
    again = 4 / 3 if plans.recompute else 1
    return again * held * plans.num_microbatches * layer_s


class _Traffic:
    """Network time of a step. The cluster's links at one level work in parallel: N accelerators of b bytes/s."""

    def __init__(self, workload: MlpStack, word_bytes: float, network: Network, plans: MlpPlanBatch) -> None:
        self.workload = workload
        self.word_bytes = word_bytes
        self.network = network
        self.plans = plans
        self.num_gpus = plans.num_gpus

    def tensor_parallel(self) -> tuple[Floats, Floats]:
        """All-reduce d_ff words a token over tp_model and d_model words over tp_ff, twice forward and backward.

        Levels work at the same time, the two groups of one level in turn; every latency adds up.
        """
        model, plans = self.workload, self.plans
        stack_bytes = 2.0 * model.num_layers * model.batch_tokens * self.word_bytes
        slowest_s: Floats = np.zeros(())
        latency_s: Floats = np.zeros(())
        groups = ((plans.tp_model, model.d_ff * stack_bytes), (plans.tp_ff, model.d_model * stack_bytes))
        above: list[Numeric] = [1.0, 1.0]
        for level in reversed(range(self.network.num_levels)):
            volume: Floats = np.zeros(())
            for i, (degrees, message_bytes) in enumerate(groups):
                degree = degrees[:, level]
                volume = volume + all_reduce_bytes(degree, message_bytes * above[i])
                hop_s = self.network.latency_s[level]
                latency_s = latency_s + all_reduce_latency_s(degree, hop_s, 2 * model.num_layers)
                above[i] = above[i] * degree
            slowest_s = np.maximum(slowest_s, volume / self.network.bytes_per_s[level])
        return slowest_s / self.num_gpus, latency_s

    def data_parallel(self) -> tuple[Floats, Floats]:
        """All-reduce the gradients of all parameters once a step, hierarchically; levels work at the same time."""
        gradient_bytes = float(self.workload.num_parameters) * self.word_bytes
        slowest_s: Floats = np.zeros(())
        latency_s: Floats = np.zeros(())
        above: Numeric = 1.0
        for level in reversed(range(self.network.num_levels)):
            degree = self.plans.dp[:, level]
            volume = all_reduce_bytes(degree, gradient_bytes * above)
            slowest_s = np.maximum(slowest_s, volume / self.network.bytes_per_s[level])
            latency_s = latency_s + all_reduce_latency_s(degree, self.network.latency_s[level])
            above = above * degree
        return slowest_s / self.num_gpus, latency_s

    def point_to_point(self) -> tuple[Floats, Floats]:
        """Activations between pipeline stages and experts, forward and backward; levels add up."""
        model, plans = self.workload, self.plans
        levels = range(self.network.num_levels)
        pp, ep = ([degrees[:, level] for level in levels] for degrees in (plans.pp, plans.ep))
        crossings = interface_crossings(pp, ep, model.num_layers, plans.interleave)
        token_bytes = 2.0 * model.batch_tokens * model.d_model * self.word_bytes
        time_s: Any = sum(
            c * (token_bytes / b) for c, b in zip(crossings.volume, self.network.bytes_per_s, strict=True)
        )
        waits_s: Any = sum(c * (2 * hop_s) for c, hop_s in zip(crossings.waits, self.network.latency_s, strict=True))
        return time_s / self.num_gpus, waits_s


def estimate(
    workload: MlpStack, cluster: Cluster, plans: MlpPlanBatch, assumptions: Assumptions | None = None
) -> Estimate:
    """Return how long one step takes under each plan, in parts that add up.

    Parameters
    ----------
    workload
        The model and its batch.
    cluster
        Accelerator and network; the number of accelerators is the product of each plan's degrees.
    plans
        Placed on the cluster's network levels.
    assumptions
        ``as_published`` by default.

    Returns
    -------
    Estimate
        Parts: ``matmul``, ``tp_comm`` and ``pp_comm`` (exposed), ``latency`` (exposed), ``bubble``, ``dp_comm``
        and ``dp_latency``. Where arithmetic and network overlap, arithmetic counts in full and the network with
        what sticks out, shared among tensor and pipeline traffic as they share the network.

    References
    ----------
    Erdil & Schneider-Joseph (2024), published program; docs: Step.
    """
    assumptions = assumptions or Assumptions()
    device = matmul_device(cluster.accelerator, assumptions)
    terms = step_terms(workload, device, cluster.network, plans)
    word_bytes, num_parameters = device.word_bytes, float(workload.num_parameters)
    num_gpus = plans.num_gpus
    memory = {
        "weights": np.asarray(weight_bytes(num_parameters, word_bytes, plans.total("dp"))),
        "gradients_and_optimizer": np.full(len(plans), optimizer_bytes(num_parameters, word_bytes)),
    }
    busy = {
        "matmul": terms.matmul_s,
        "tp_comm": terms.tp_s,
        "pp_comm": terms.pp_s,
        "dp_comm": terms.dp_s,
        "latency": terms.pipeline_latency_s + terms.dp_latency_s,
    }
    network_s = terms.tp_s + terms.pp_s
    serial_s = (terms.matmul_s + network_s) * terms.bubble_stretch
    return Estimate(
        plans=plans,
        cluster=cluster,
        parts_s=_parts(terms, plans, assumptions),
        busy_s=busy,
        lower_s=np.maximum.reduce([terms.matmul_s, terms.tp_s, terms.pp_s, terms.dp_s]),
        upper_s=serial_s + terms.pipeline_latency_s + terms.dp_s + terms.dp_latency_s,
        memory_bytes=memory,
        memory_capacity_bytes=num_gpus * cluster.accelerator.hbm_bytes,
        step_flop=workload.step_flop,
        num_steps=workload.num_steps,
    )


def _parts(terms: StepTerms, plans: MlpPlanBatch, assumptions: Assumptions) -> dict[str, Floats]:
    """Split the step by cause, so that the parts add up to `StepTerms.step_s`."""
    hidden_tp_s = assumptions.overlap_tp * terms.tp_s
    hidden_pp_s = assumptions.overlap_pp * terms.pp_s
    hideable_s = hidden_tp_s + hidden_pp_s
    sticking_out_s = np.maximum(0, hideable_s - terms.matmul_s)
    share = sticking_out_s / np.where(hideable_s > 0, hideable_s, 1)
    tp_s = terms.tp_s - hidden_tp_s + share * hidden_tp_s
    pp_s = terms.pp_s - hidden_pp_s + share * hidden_pp_s
    zero_bubble = plans.schedule == "zero-bubble"
    if not zero_bubble:
        latency_s = terms.pipeline_latency_s
    elif assumptions.zero_bubble_latency_order:
        latency_s = np.maximum(0, terms.pipeline_latency_s - np.maximum(terms.matmul_s, hideable_s))
    else:
        latency_s = np.zeros(len(plans))
    bubble_s = (terms.matmul_s + tp_s + pp_s) * (terms.bubble_stretch - 1)
    dp_s = terms.dp_s
    if assumptions.overlap_dp:
        dp_s = np.maximum(0, dp_s - (terms.matmul_s + tp_s + pp_s + latency_s + bubble_s))
    return {
        "matmul": terms.matmul_s,
        "tp_comm": tp_s,
        "pp_comm": pp_s,
        "latency": latency_s,
        "bubble": bubble_s,
        "dp_comm": dp_s,
        "dp_latency": terms.dp_latency_s,
    }
