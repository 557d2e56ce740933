"""A plan on a cluster, as the planner compares it: step, memory, cost, energy, whole run."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from walltime.arrays import Floats
from walltime.economics.account import Account, account, power_of, price_usd_per_gpu_hour
from walltime.engines.step import PARTS
from walltime.engines.transformer import TransformerEstimate, estimate
from walltime.hardware import Cluster
from walltime.plan import Plan, PlanBatch
from walltime.planner.question import Goal, Question
from walltime.problems import BadInput
from walltime.search.plan_search import Criterion


@dataclass(frozen=True)
class Option:
    """One plan on one cluster.

    Attributes
    ----------
    cluster, plan
        What is meant.
    estimate
        Of this one plan.
    account
        The estimate as whoever pays sees it.
    """

    cluster: Cluster
    plan: Plan
    estimate: TransformerEstimate
    account: Account

    @cached_property
    def time_s(self) -> float:
        """Step time. [s]"""
        return float(self.estimate.time_s[0])

    @cached_property
    def parts_s(self) -> dict[str, float]:
        """Parts of the step that add up to it. [s]"""
        return {name: float(part[0]) for name, part in self.estimate.parts_s.items()}

    @property
    def run_time_s(self) -> float:
        """Time of the whole run, interruptions included. [s]"""
        return float(self.account.run_time_s[0])

    @property
    def utilization(self) -> float:
        """Model FLOP/s utilisation."""
        return float(self.estimate.utilization[0])

    @property
    def needed_bytes(self) -> float:
        """Memory that the fullest accelerator needs. [B]"""
        return float(self.estimate.needed_bytes[0])

    @property
    def free_bytes(self) -> float:
        """Memory that is left on the fullest accelerator. [B]"""
        return float(self.estimate.memory_capacity_bytes[0]) - self.needed_bytes

    @property
    def tokens_per_s(self) -> float:
        """Tokens that the whole cluster trains on in a second. [tokens/s]"""
        return float(self.estimate.tokens_per_s[0])

    @property
    def price_usd_per_gpu_hour(self) -> float | None:
        """What an hour of an accelerator costs; None if nobody says. [$/h]"""
        return _only(self.account.price_usd_per_gpu_hour)

    @property
    def cost_usd_per_token(self) -> float | None:
        """Cost of the accelerators for one token. [$]"""
        return _only(self.account.cost_usd_per_token)

    @property
    def energy_j_per_token(self) -> float | None:
        """Energy of the accelerators for one token, without hosts, network and cooling. [J]"""
        return _only(self.account.energy_j_per_token)

    def value(self, goal: Goal) -> tuple[float, float]:
        """Return what is to be least, and the step time, which decides among equals.

        Raises
        ------
        BadInput
            There is no price of the accelerator, or no power limit.
        """
        of_goal = {
            "time": self.time_s,
            "cost": self.cost_usd_per_token,
            "energy": self.energy_j_per_token,
            "memory": self.needed_bytes,
            "gpus": float(self.plan.num_gpus),
        }[goal]
        if of_goal is None:
            chip = self.cluster.accelerator.id
            if goal == "cost" and self.account.owned:
                raise BadInput(f"goal=cost: owning {chip}: {self.account.price_missing}. Valid: without --owned.")
            if goal == "cost":
                raise BadInput(f"goal=cost: no price of {chip} is known. Valid: --price 2.50 (dollars a GPU-hour).")
            raise BadInput(f"goal=energy: no power limit of {chip} is known. Valid: --goal time.")
        return of_goal, self.time_s


def option(question: Question, cluster: Cluster, plan: Plan) -> Option:
    """Return one plan of a question, estimated."""
    plans = PlanBatch.of([plan])
    found = estimate(question.training, cluster, plans, question.stack, num_steps=question.num_steps)
    return Option(cluster, plan, found, account(found, question.terms))


def weights(question: Question, cluster: Cluster) -> dict[Criterion, Mapping[str, float]]:
    """Return what a second of each part of a step weighs: watts of an accelerator, and dollars if it is owned.

    Energy and cost of a step are sums over its parts, so a search by weighted parts finds the least of either. A rented
    accelerator costs the same whatever it does.
    """
    drawn = power_of(cluster, question.terms)
    if drawn is None:
        return {}
    found: dict[Criterion, Mapping[str, float]] = {"energy": drawn.part_powers_w}
    by_part = {name: price_usd_per_gpu_hour(cluster, {name: 1.0}, question.terms) for name in PARTS}
    if all(price is not None for price in by_part.values()):
        found["cost"] = {name: float(price) for name, price in by_part.items() if price is not None}
    return found


def _only(values: Floats | None) -> float | None:
    return None if values is None else float(values[0])
