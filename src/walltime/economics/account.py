"""An estimate as whoever pays sees it: throughput, time by kind, power, energy, cost, goodput of each plan."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from walltime.arrays import Floats, Numeric
from walltime.economics.cost import Ownership, ownership, rental_usd_per_gpu_hour
from walltime.economics.known_reliability import checkpoint_bytes, is_known, reliability, reliability_range
from walltime.economics.power import Power, power
from walltime.economics.reliability import Reliability
from walltime.economics.terms import USUAL_TERMS, Terms
from walltime.engines.stack import Stack
from walltime.engines.transformer import TransformerEstimate
from walltime.hardware import Cluster
from walltime.problems import BadInput
from walltime.workload import Training

_COMPUTE = ("matmul", "attention", "memory_bound", "optimizer")
_COMMUNICATION = ("tp_comm", "cp_comm", "ep_comm", "pp_comm", "dp_comm")
_HOUR_S, _W_PER_KW, _JOULES_PER_KWH = 3600, 1000, 3.6e6
LEAST_EFFECTIVE_SHARE = 1e-3
"""A training that keeps less than a thousandth of its time never ends: what is beyond is no prediction."""


@dataclass(frozen=True)
class Account:
    """What a batch of plans gives and costs; every property is (plans,), and None where a number is not known.

    Attributes
    ----------
    estimate
        Of the plans.
    power
        What is drawn.
    price_usd_per_gpu_hour
        What an hour of an accelerator costs, rented or owned.
    reliability
        How often training stops.
    owned
        Whether the price is that of owning.
    """

    estimate: TransformerEstimate
    power: Power | None
    price_usd_per_gpu_hour: Floats | None
    reliability: Reliability | None
    owned: bool = False

    # Throughput

    @property
    def num_gpus(self) -> Floats:
        """Accelerators, those of model parallelism included."""
        return np.asarray(self.estimate.plans.num_gpus)

    @property
    def tokens_per_s_per_gpu(self) -> Floats:
        """Tokens of a second and accelerator. [tokens/s]"""
        return self.estimate.tokens_per_s / self.num_gpus

    @property
    def flop_per_s_per_gpu(self) -> Floats:
        """Model FLOP of a second and accelerator, by the estimate's convention. [FLOP/s]"""
        return self.estimate.step_flop / self.estimate.time_s / self.num_gpus

    # Time by kind: the step is compute, exposed communication and idling

    @cached_property
    def compute_s(self) -> Floats:
        """Time in which kernels compute or move memory. [s]"""
        return self._sum(_COMPUTE)

    @cached_property
    def exposed_communication_s(self) -> Floats:
        """Communication that no computation hides. [s]"""
        return self._sum(_COMMUNICATION)

    @property
    def idle_s(self) -> Floats:
        """Waiting for other stages and for the host. [s]"""
        return self.estimate.time_s - self.compute_s - self.exposed_communication_s

    @property
    def communication_s(self) -> Floats:
        """Length of the union of communication: what is exposed, and what runs beside computation. [s]

        Kinds that are hidden at the same time count once only where together they are longer than the computation.
        """
        busy = np.add.reduce(list(self.estimate.busy_s.values()))
        hidden = np.maximum(busy - self.exposed_communication_s, 0)
        return self.exposed_communication_s + np.minimum(hidden, self.compute_s)

    @property
    def overlap_share(self) -> Floats:
        """Share of communication that computation hides; 1 where there is none."""
        comm = self.communication_s
        return 1 - self.exposed_communication_s / np.where(comm > 0, comm, 1)

    def _sum(self, names: tuple[str, ...]) -> Floats:
        return np.add.reduce([self.estimate.parts_s[name] for name in names])

    # Power and energy

    @cached_property
    def board_w(self) -> Floats | None:
        """Mean draw of an accelerator's board. [W]"""
        return None if self.power is None else self.power.board_w(self.estimate.parts_s)

    @cached_property
    def facility_w(self) -> Floats | None:
        """Mean draw at the meter for each accelerator: board, node, network, building. [W]"""
        return None if self.power is None else self.power.facility_w(self.estimate.parts_s)

    @property
    def energy_j_per_token(self) -> Floats | None:
        """Energy of the boards for a token. [J]"""
        return None if self.board_w is None else self.board_w / self.tokens_per_s_per_gpu

    @property
    def carbon_kg_per_token(self) -> Floats | None:
        """CO2-equivalent of the electricity at the meter for a token. [kg]"""
        if self.power is None or self.facility_w is None:
            return None
        return self.facility_w / self.tokens_per_s_per_gpu / _JOULES_PER_KWH * self.power.grid_kg_per_kwh

    # Money

    @property
    def cost_usd_per_token(self) -> Floats | None:
        """What a token of an undisturbed run costs. [$]"""
        if self.price_usd_per_gpu_hour is None:
            return None
        return self.price_usd_per_gpu_hour / _HOUR_S / self.tokens_per_s_per_gpu

    @property
    def price_missing(self) -> str:
        """What a price of an hour would need, in words; empty if there is one."""
        if self.price_usd_per_gpu_hour is not None:
            return ""
        if not self.owned:
            return "no list price is known"
        if self.facility_w is None:
            return "what the rest of its node draws is not known (--set power.host_w=W)"
        return "no purchase price is known (--set cost.capital_usd=USD)"

    # Failures

    @cached_property
    def effective_share(self) -> Floats | None:
        """Share of the ideal tokens that are left after failures and checkpoints; 0 where next to none are."""
        if self.reliability is None:
            return None
        share = self.reliability.effective_share(self.num_gpus)
        return np.where(share < LEAST_EFFECTIVE_SHARE, 0.0, share)

    @property
    def goodput_tokens_per_s(self) -> Floats | None:
        """Tokens a second of the whole cluster, failures and checkpoints included. [tokens/s]"""
        return None if self.effective_share is None else self.estimate.tokens_per_s * self.effective_share

    # The whole run

    @property
    def run_time_s(self) -> Floats:
        """Time of all the estimate's steps, interruptions included; infinite where next to nothing is left. [s]"""
        share = self.effective_share
        if share is None:
            return self.estimate.run_time_s
        return np.where(share > 0, self.estimate.run_time_s / np.where(share > 0, share, 1), np.inf)

    def run(self) -> dict[str, Floats | None]:
        """Return what the estimate's steps take and cost together, interruptions included, (plans,) or None each.

        Cost and energy are of accelerators that are held and drawing until the run is done: what is lost to failures
        is paid for. None where a number is not known, or the run never ends.
        """
        ideal = {"ideal_run_time_s": self.estimate.run_time_s}
        names = ("run_time_s", "gpu_hours", "cost_usd", "facility_energy_kwh", "carbon_kg")
        if not np.all(np.isfinite(self.run_time_s)):
            return ideal | dict.fromkeys(names)
        gpu_hours = self.run_time_s * self.num_gpus / _HOUR_S
        kwh = None if self.facility_w is None else self.facility_w * gpu_hours / _W_PER_KW
        cost = None if self.price_usd_per_gpu_hour is None else self.price_usd_per_gpu_hour * gpu_hours
        carbon = None if self.power is None or kwh is None else kwh * self.power.grid_kg_per_kwh
        return ideal | dict(zip(names, (self.run_time_s, gpu_hours, cost, kwh, carbon), strict=True))

    # Rows

    def to_rows(self) -> list[dict[str, Any]]:
        """One flat dictionary a plan with every metric, units in the keys; None where a number is not known."""
        columns = self.columns()
        return [
            {name: None if column is None else column[i].item() for name, column in columns.items()}
            for i in range(len(self.estimate))
        ]

    def columns(self) -> dict[str, Any]:
        """Return every metric by name, (plans,) or None."""
        estimate, one = self.estimate, np.ones(len(self.estimate))
        step_j = None if self.board_w is None else self.board_w * self.num_gpus * estimate.time_s
        hourly = None if self.price_usd_per_gpu_hour is None else self.price_usd_per_gpu_hour * self.num_gpus
        return {
            "num_gpus": self.num_gpus,
            "step_time_s": estimate.time_s,
            "tokens_per_step": estimate.training.batch_tokens * one,
            "tokens_per_s": estimate.tokens_per_s,
            "tokens_per_s_per_gpu": self.tokens_per_s_per_gpu,
            "tflop_per_s_per_gpu": self.flop_per_s_per_gpu / 1e12,
            "mfu": estimate.utilization,
            "compute_s": self.compute_s,
            "communication_s": self.communication_s,
            "exposed_communication_s": self.exposed_communication_s,
            "idle_s": self.idle_s,
            "overlap_share": self.overlap_share,
            "exposed_share_of_step": self.exposed_communication_s / estimate.time_s,
            "board_power_w": self.board_w,
            "total_board_power_w": None if self.board_w is None else self.board_w * self.num_gpus,
            "facility_power_w": None if self.facility_w is None else self.facility_w * self.num_gpus,
            "energy_j_per_step": step_j,
            "energy_j_per_token": self.energy_j_per_token,
            "tokens_per_j": None if self.energy_j_per_token is None else 1 / self.energy_j_per_token,
            "carbon_kg_per_token": self.carbon_kg_per_token,
            "usd_per_gpu_hour": self.price_usd_per_gpu_hour,
            "usd_per_hour": hourly,
            "cost_usd_per_step": None if hourly is None else hourly * estimate.time_s / _HOUR_S,
            "cost_usd_per_token": self.cost_usd_per_token,
            "tokens_per_gpu_hour": self.tokens_per_s_per_gpu * _HOUR_S,
            "effective_share": self.effective_share,
            "goodput_tokens_per_s": self.goodput_tokens_per_s,
            "memory_bytes": estimate.needed_bytes,
        }


def account(estimate: TransformerEstimate, terms: Terms = USUAL_TERMS) -> Account:
    """Return an estimate as whoever pays sees it, on the given terms.

    Raises
    ------
    BadInput
        The plans are of several numbers of accelerators: network, checkpoints and failures are those of one.
    """
    if not isinstance(estimate, TransformerEstimate):
        raise BadInput(f"estimate={estimate!r} is none of a real model. Valid: wt.estimate(...).")
    if not isinstance(terms, Terms):
        raise BadInput(f"terms={terms!r} must be wt.Terms. Valid: wt.Terms(owned=True), for example.")
    sizes = sorted({int(size) for size in estimate.plans.num_gpus})
    if len(sizes) > 1:
        listed = ", ".join(f"{size:,}" for size in sizes)
        raise BadInput(f"plans are of {listed} accelerators. Valid: an estimate of plans of one number.")
    cluster = estimate.cluster.with_num_gpus(sizes[0])
    drawn = power_of(cluster, terms)
    failing = reliability_of(estimate.training, cluster, estimate.stack, terms)
    price = price_usd_per_gpu_hour(cluster, estimate.parts_s, terms)
    hourly = None if price is None else price + np.zeros(len(estimate))
    return Account(estimate, drawn, hourly, failing, terms.owned)


def power_of(cluster: Cluster, terms: Terms = USUAL_TERMS) -> Power | None:
    """Return what is drawn on a cluster, on the given terms; None if its accelerator's limit is not known."""
    found: Power | None = terms.applied("power", power(cluster))
    return found


def reliability_of(
    training: Training, cluster: Cluster, stack: Stack, terms: Terms = USUAL_TERMS
) -> Reliability | None:
    """Return how often a training on a whole cluster stops, and what that costs it, on the given terms.

    None if that is not known of such a machine and the terms set nothing of it.
    """
    if not is_known(cluster) and not terms.sets("failures"):
        return None
    found: Reliability = terms.applied("failures", reliability(cluster, checkpoint_bytes(training.model, stack)))
    return found


def reliability_range_of(
    training: Training, cluster: Cluster, stack: Stack, terms: Terms = USUAL_TERMS
) -> tuple[Reliability, Reliability]:
    """Return the same with every estimate at its worse end, and at its better end; what the terms set is as set."""
    worse, better = reliability_range(cluster, checkpoint_bytes(training.model, stack))
    return terms.applied("failures", worse), terms.applied("failures", better)


def price_usd_per_gpu_hour(cluster: Cluster, parts_s: Mapping[str, Numeric], terms: Terms) -> Numeric | None:
    """Return what an hour of an accelerator costs, rented or owned, while it runs steps of the given parts. [$/h]"""
    chip = cluster.accelerator.id
    if chip in terms.price_usd_per_gpu_hour:
        return terms.price_usd_per_gpu_hour[chip]
    if not terms.owned:
        return rental_usd_per_gpu_hour(chip)
    set_usd, set_w = (terms.settings.get(f"cost.{name}") for name in ("capital_usd", "provisioned_w"))
    own: Ownership | None = terms.applied("cost", ownership(cluster, capital_usd=set_usd, provisioned_w=set_w))
    drawn = power_of(cluster, terms)
    at_meter = None if drawn is None else drawn.facility_w(parts_s)
    return None if own is None or at_meter is None else own.usd_per_gpu_hour(at_meter)
