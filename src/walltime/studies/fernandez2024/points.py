"""Points of the study: settings under plans, each a row with every metric."""

import functools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from walltime.economics.account import account
from walltime.engines.transformer import TransformerEstimate, estimate
from walltime.plan import Plan, PlanBatch, check_plan
from walltime.plan.plan import choices_of
from walltime.problems import BadInput
from walltime.studies.fernandez2024.setting import Setting, node_size
from walltime.units import format_si
from walltime.workload.flop import Convention

CONVENTION: Convention = "causal-attention"
"""How the study counts model FLOP; the paper does not say how it does."""
RUNS, NOT_FITTING, NOT_SPLIT = "runs", "does not fit", "cannot be split"
_PLAN_FIELDS = ("tp", "pp", "cp", "dp", "shard", "vpp", "micro_batch", "sharding", "reshard", "recompute", "precision")


@dataclass(frozen=True)
class Batch:
    """Plans of a setting that share their choices, estimated together."""

    estimate: TransformerEstimate

    @functools.cached_property
    def columns(self) -> dict[str, Any]:
        """Every metric by name (`walltime.economics.account.Account.columns`), (plans,) or None."""
        return account(self.estimate).columns()


@dataclass(frozen=True)
class Point:
    """A setting under a plan, and what became of it.

    Attributes
    ----------
    setting, plan
        What was asked.
    status, reason
        Whether it runs; if not, why not.
    batch, index
        The estimate of the batch of plans that it is one of, and its place there; None where it cannot be split.
    """

    setting: Setting
    plan: Plan
    status: str
    reason: str = ""
    batch: Batch | None = None
    index: int = 0

    @property
    def runs(self) -> bool:
        """Whether it can be split and fits."""
        return self.status == RUNS

    @functools.cached_property
    def metrics(self) -> dict[str, Any]:
        """Every metric where it runs, None where a number is not known; else what memory it needs, as far as known."""
        if self.batch is None:
            return {}
        if not self.runs:
            return {"memory_bytes": float(self.batch.estimate.needed_bytes[self.index])}
        columns = self.batch.columns.items()
        return {name: None if column is None else column[self.index].item() for name, column in columns}

    @property
    def time_s(self) -> float:
        """Step; infinity where it does not run. [s]"""
        return float(self.batch.estimate.time_s[self.index]) if self.batch and self.runs else float("inf")

    def __getitem__(self, metric: str) -> float:
        return float(self.metrics[metric])

    def part_s(self, name: str) -> float:
        """Return a part of the step by its name; nothing where it cannot be split. [s]"""
        return float(self.batch.estimate.parts_s[name][self.index]) if self.batch else 0.0

    def row(self, **also: Any) -> dict[str, Any]:
        """Return the point as a flat row: configuration first, then what became of it, then metrics."""
        of, plan = self.setting, self.plan
        values = {name: getattr(plan, name) for name in _PLAN_FIELDS}
        values["shard"] = plan.shard or plan.dp
        return {
            **also,
            "model": of.model,
            "cluster": of.cluster,
            "network_settings": " ".join(of.network),
            "stack": of.stack,
            "attention": of.software().attention,
            "num_gpus": of.num_gpus,
            "num_nodes": of.num_gpus / node_size(of),
            "seq_len": of.seq_len,
            "batch_seqs": of.batch_seqs,
            "seqs_per_gpu": of.batch_seqs / of.num_gpus,
            **values,
            "model_parallel_degree": plan.tp * plan.pp,
            "plan": str(plan),
            "convention": CONVENTION,
            "status": self.status,
            "reason": self.reason,
            **{name: value for name, value in self.metrics.items() if name != "num_gpus"},
        }


@functools.lru_cache(maxsize=4096)
def points(setting: Setting, plans: tuple[Plan, ...]) -> tuple[Point, ...]:
    """Return a setting under each of some plans, in their order."""
    training, on = setting.training, setting.on()
    found: dict[Plan, Point] = {}
    together: dict[tuple[Any, ...], list[Plan]] = defaultdict(list)
    for plan in plans:
        try:
            check_plan(plan, training, on)
        except BadInput as problem:
            found[plan] = Point(setting, plan, NOT_SPLIT, str(problem))
        else:
            together[tuple(choices_of(plan).values())].append(plan)
    for batch in together.values():
        found |= zip(batch, _estimated(setting, batch), strict=True)
    return tuple(found[plan] for plan in plans)


def _estimated(setting: Setting, plans: Sequence[Plan]) -> Iterator[Point]:
    """Yield plans that share their choices, estimated together."""
    made = estimate(
        setting.training,
        setting.on(),
        PlanBatch.of(plans),
        setting.software(),
        numbers=setting.numbers(),
        convention=CONVENTION,
    )
    fits, needed = made.fits, made.needed_bytes
    there = format_si(float(made.memory_capacity_bytes[0]), "B", 3)
    batch = Batch(made)
    for index, plan in enumerate(plans):
        if fits[index]:
            yield Point(setting, plan, RUNS, "", batch, index)
        else:
            reason = f"needs {format_si(float(needed[index]), 'B', 3)} of {there} on an accelerator"
            yield Point(setting, plan, NOT_FITTING, reason, batch, index)
