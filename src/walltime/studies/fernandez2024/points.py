"""Points of the study: a training on some accelerators under given plans, each a row with every metric."""

import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from walltime.economics.account import account
from walltime.engines.calibration import Calibration, Links, calibration
from walltime.engines.capabilities import EVERYTHING
from walltime.engines.stack import ATTENTION_KERNELS, Stack
from walltime.engines.stack import stack as catalog_stack
from walltime.engines.transformer import TransformerEstimate, estimate
from walltime.engines.what_if import link_blocks
from walltime.hardware import Cluster, cluster, override
from walltime.plan import Plan, PlanBatch, Precision, check_plan
from walltime.plan.plan import choices_of
from walltime.problems import BadInput
from walltime.studies.fernandez2024.published import setting as of_paper
from walltime.studies.fernandez2024.published import settings
from walltime.units import format_si
from walltime.workload import Training, Transformer
from walltime.workload.catalog import transformer
from walltime.workload.flop import Convention

CONVENTION: Convention = "causal-attention"
"""How the study counts model FLOP; the paper does not say how it does."""
RUNS, NOT_FITTING, NOT_SPLIT = "runs", "does not fit", "cannot be split"
_PLAN_FIELDS = ("tp", "pp", "cp", "dp", "shard", "micro_batch", "sharding", "reshard", "recompute", "precision")


@dataclass(frozen=True)
class Setting:
    """What is trained on what, by what software; everything but the plan.

    Attributes
    ----------
    num_gpus, batch_seqs
        Accelerators, and sequences of a step over all of them.
    cluster, model, stack
        Ids of the catalog.
    seq_len
        Tokens of a sequence.
    precision
        Number format of matmuls.
    attention
        Attention kernel instead of the stack's own; empty for its own.
    network
        What is set on the network, as ``--set`` takes it.
    ring_steps
        ``low`` or ``high``: the ends of what steps of a ring between nodes may wait, which was never measured; empty
        for the catalog's estimate.
    """

    num_gpus: int
    batch_seqs: int
    cluster: str = "h100-sxm"
    model: str = settings()["model"]
    seq_len: int = of_paper("seq_len")
    stack: str = "fsdp1"
    precision: Precision = "bf16"
    attention: str = ""
    network: tuple[str, ...] = ()
    ring_steps: str = ""

    @property
    def training(self) -> Training:
        """Model, sequence length and batch."""
        return Training(_model(self.model), self.seq_len, self.batch_seqs)

    def on(self) -> Cluster:
        """Return the cluster, at its number of accelerators."""
        return _cluster(self.cluster, self.network).with_num_gpus(self.num_gpus)

    def software(self) -> Stack:
        """Return the stack with every kind of parallelism: the authors' code added what FSDP1 has not."""
        found = replace(catalog_stack(self.stack), runs=EVERYTHING)
        kernel = next((one for one in ATTENTION_KERNELS if one == self.attention), found.attention)
        return replace(found, attention=kernel)

    def numbers(self) -> Calibration:
        """Return the fitted numbers that it stands on."""
        found = calibration(self.on(), self.stack)
        if not self.ring_steps:
            return found
        inner, outer = (getattr(level, self.ring_steps) for level in link_blocks(self.on())[-2:])
        levels = list(found.links.levels)
        levels[-2] = replace(levels[-2], relay_s=inner["relay_s"])
        levels[-1] = replace(levels[-1], hop_s=outer["hop_s"])
        return replace(found, links=Links(tuple(levels)))


@functools.cache
def _model(name: str) -> Transformer:
    return transformer(name)


@functools.cache
def _cluster(name: str, network: tuple[str, ...]) -> Cluster:
    return override(cluster(name), network)


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


def node_size(setting: Setting) -> int:
    """Accelerators that the innermost links join."""
    return setting.on().network.level_sizes[0]


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


def fsdp(setting: Setting, **choices: Any) -> Point:
    """Return FSDP alone: a step is one micro-batch of each accelerator, without recomputation unless that is chosen."""
    local = max(setting.batch_seqs // setting.num_gpus, 1)
    values = {"dp": setting.num_gpus, "micro_batch": local} | choices
    return points(setting, (Plan(sharding="zero3", precision=setting.precision, **values),))[0]


def fsdp_that_fits(setting: Setting, **choices: Any) -> Point:
    """Return FSDP alone, with full recomputation if it does not fit without."""
    plain = fsdp(setting, **choices)
    return plain if plain.status != NOT_FITTING else fsdp(setting, recompute="full", **choices)


def layouts(
    setting: Setting,
    degrees: Iterable[tuple[int, ...]],
    *,
    shard_nodes: int = 0,
    reshard: bool = True,
    recomputes: Sequence[str] = ("none",),
) -> list[Point]:
    """Return the fastest plan of each (tp, pp) or (tp, pp, cp), FSDP over the rest; where none runs, why not.

    Parameters
    ----------
    setting
        What is trained.
    degrees
        Of tensor, pipeline and context parallelism.
    shard_nodes
        Nodes over which state is shared out (hybrid shard); 0 for all data-parallel ranks.
    reshard
        Whether parameters are dropped after the forward pass and gathered again.
    recomputes
        Kinds of recomputation that are tried, besides every micro-batch that divides the batch.
    """
    choices = [{"recompute": recompute, "reshard": reshard} for recompute in recomputes]
    tried = [tuple(_plans(setting, one, shard_nodes, choices)) for one in degrees]
    found = iter(points(setting, tuple(plan for plans in tried for plan in plans)))
    return [min((next(found) for _ in plans), key=_preference) for plans in tried]


def _preference(point: Point) -> tuple[float, float, str]:
    """Order by time; where nothing runs, what needs least memory, and what can be split, come first."""
    needed = float("inf") if point.batch is None else float(point.batch.estimate.needed_bytes[point.index])
    return point.time_s, needed, str(point.plan)


def _plans(
    setting: Setting, degrees: tuple[int, ...], shard_nodes: int, choices: Sequence[dict[str, Any]]
) -> Iterator[Plan]:
    tp, pp, cp = (*degrees, 1)[:3]
    dp = max(setting.num_gpus // (tp * pp * cp), 1)
    shard = min(max(shard_nodes * node_size(setting) // (tp * cp), 1), dp) if shard_nodes else 0
    local = max(setting.batch_seqs // dp, 1)
    for micro_batch in (size for size in (1, 2, 4, 8, 16) if local % size == 0):
        for chosen in choices:
            values: dict[str, Any] = chosen | {"precision": setting.precision, "shard": shard}
            yield Plan(tp=tp, pp=pp, cp=cp, dp=dp, micro_batch=micro_batch, sharding="zero3", **values)


def best(found: Iterable[Point]) -> Point:
    """Return the fastest point; where none runs, the nearest to it."""
    return min(found, key=_preference)


def with_scaling(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add scaling efficiency and marginal returns to rows over a growing number of accelerators.

    Efficiency is tokens a second and accelerator over those of the first row that runs, whose number of accelerators
    stands beside it. Returns are of the step from the row before: tokens/s for each accelerator, tokens for each joule
    of the boards, tokens for each dollar that is added.
    """
    running = [row for row in rows if row["status"] == RUNS]
    first = running[0] if running else None
    before: dict[str, Any] | None = None
    found = []
    for row in rows:
        new: dict[str, Any] = dict.fromkeys(_SCALING)
        if row["status"] == RUNS and first is not None:
            new["base_num_gpus"] = first["num_gpus"]
            new["scaling_efficiency"] = row["tokens_per_s_per_gpu"] / first["tokens_per_s_per_gpu"]
            new |= _marginal(before, row) if before else {}
            before = row
        found.append(row | new)
    return found


_SCALING = (
    "base_num_gpus",
    "scaling_efficiency",
    "marginal_tokens_per_s_per_gpu",
    "marginal_tokens_per_j",
    "marginal_tokens_per_usd",
)


def _marginal(before: dict[str, Any], row: dict[str, Any]) -> dict[str, float | None]:
    """Return what the accelerators that were added bring, over what they need."""
    gained = row["tokens_per_s"] - before["tokens_per_s"]

    def over(name: str, scale: float = 1.0) -> float | None:
        if row[name] is None or before[name] is None or row[name] == before[name]:
            return None
        return float(scale * gained / (row[name] - before[name]))

    return {
        "marginal_tokens_per_s_per_gpu": over("num_gpus"),
        "marginal_tokens_per_j": over("total_board_power_w"),
        "marginal_tokens_per_usd": over("usd_per_hour", 3600),
    }


def complete(rows: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Return rows that all have the same columns, None where a row has no number."""
    listed = list(rows)
    columns = list(dict.fromkeys(key for row in listed for key in row))
    return tuple({column: row.get(column) for column in columns} for row in listed)
