"""A plan on a cluster, as the planner compares it: step, memory, cost, energy, whole run."""

from dataclasses import dataclass
from functools import cached_property

from walltime.catalog.prices import price_per_gpu_hour_usd
from walltime.economics.power import Power, power
from walltime.engines.transformer import TransformerEstimate, estimate
from walltime.hardware import Cluster
from walltime.plan import Plan, PlanBatch
from walltime.planner.question import Goal, Question
from walltime.problems import BadInput

_HOUR_S = 3600


@dataclass(frozen=True)
class Option:
    """One plan on one cluster.

    Attributes
    ----------
    cluster, plan
        What is meant.
    estimate
        Of this one plan.
    price_usd_per_gpu_hour
        Of the accelerator; None if nobody says. [$/h]
    power
        Of an accelerator; None if its limit is not known.
    """

    cluster: Cluster
    plan: Plan
    estimate: TransformerEstimate
    price_usd_per_gpu_hour: float | None
    power: Power | None

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
        """Time of the whole run. [s]"""
        return float(self.estimate.run_time_s[0])

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
    def cost_usd_per_token(self) -> float | None:
        """Rent of the accelerators for one token. [$]"""
        if self.price_usd_per_gpu_hour is None:
            return None
        return self.plan.num_gpus * self.price_usd_per_gpu_hour / _HOUR_S / self.tokens_per_s

    @property
    def energy_j_per_token(self) -> float | None:
        """Energy of the accelerators for one token, without hosts, network and cooling. [J]"""
        if self.power is None:
            return None
        return self.plan.num_gpus * float(self.power.board_w(self.parts_s)) / self.tokens_per_s

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
            if goal == "cost":
                raise BadInput(f"goal=cost: no price of {chip} is known. Valid: --price 2.50 (dollars a GPU-hour).")
            raise BadInput(f"goal=energy: no power limit of {chip} is known. Valid: --goal time.")
        return of_goal, self.time_s


def option(question: Question, cluster: Cluster, plan: Plan) -> Option:
    """Return one plan of a question, estimated."""
    plans = PlanBatch.of([plan])
    found = estimate(question.training, cluster, plans, question.stack, num_steps=question.num_steps)
    return Option(cluster, plan, found, price_usd(question, cluster), power(cluster))


def price_usd(question: Question, cluster: Cluster) -> float | None:
    """Return the price of a GPU-hour: as asked, else the catalog's. [$/h]"""
    asked = question.price_usd_per_gpu_hour.get(cluster.accelerator.id)
    if asked is not None:
        return asked
    number = price_per_gpu_hour_usd(cluster.accelerator.id)
    return None if number is None else float(number.value)
