"""Erdil & Schneider-Joseph (2024), Data movement limits to frontier model training: every figure and headline number.

Each function takes a `Study`, which computes a curve once however many figures show it.
"""

import csv
import functools
import math
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from walltime.catalog import data_root
from walltime.engines import Assumptions
from walltime.hardware import cluster
from walltime.limits import (
    T_CRIT_POWERS,
    T_LIMIT_POWERS,
    Frontier,
    FrontierQuestion,
    NodeBalance,
    RunFamily,
    frontier,
    sensitivities,
    t_crit_flop,
    t_limit_flop,
)
from walltime.limits.scaling_laws import constants
from walltime.plan import DEGREES
from walltime.problems import unknown
from walltime.search import FULL, PUBLISHED
from walltime.studies.figure import Figure, Mark, Panel, Series
from walltime.units import format_flop

PARAMETERS = "Erdil2024"
MODES = ("as_published", "corrected")
"""How the study is run: exactly as published, or mended and over the full space of plans."""


@dataclass(frozen=True)
class CurveKey:
    """Which frontier: accelerator, sparsity, batch law, duration."""

    accelerator: str
    sparsity: str = "dense"
    batch_law: str = "default"
    years: float = 0.25


_GENERATIONS = {"V100": "v100-sxm", "A100": "a100-sxm", "H100": "h100-sxm"}
_NETWORKS = {
    "H100": "h100-sxm",
    "H100, latencies / 10": "h100-sxm-low-latency",
    "Global NVLink": "h100-sxm-global-nvlink",
    "Global NVLink, latencies / 10": "h100-sxm-global-nvlink-low-latency",
    "Infinite network, latencies / 10": "h100-sxm-infinite-network-low-latency",
}
_BATCHES = {"No scaling": "none", "Default": "default", "DeepSeek": "deepseek"}


def study_curves() -> list[CurveKey]:
    """Return the 19 curves of the paper's studies, in order; those that several studies show appear in each."""
    curves = [CurveKey(gpu, sparsity) for sparsity in ("dense", "sparse") for gpu in _GENERATIONS.values()]
    curves += [CurveKey(gpu, sparsity) for sparsity in ("dense", "sparse") for gpu in _NETWORKS.values()]
    return curves + [CurveKey("h100-sxm", "dense", law) for law in _BATCHES.values()]


def question(key: CurveKey, mode: str) -> FrontierQuestion:
    """Return the question that a curve answers."""
    if mode not in MODES:
        raise unknown("mode", mode, MODES)
    run = constants("run")
    return FrontierQuestion(
        cluster=cluster(key.accelerator, parameters=PARAMETERS),
        family=RunFamily(key.sparsity, key.batch_law),
        deadline_s=key.years * run["seconds_per_year"],
        space=PUBLISHED if mode == "as_published" else FULL,
        assumptions=Assumptions.named(mode),
    )


def _frontier_of(key: CurveKey, mode: str) -> Frontier:
    return frontier(question(key, mode))


class Study:
    """The paper's curves under one reading.

    Parameters
    ----------
    mode
        ``as_published``, or ``corrected``: the four defects mended, over the full space of plans.
    executor
        Computes curves side by side; by default one after another, when first asked for.
    progress
        Called with the number of curves done and in all.
    """

    def __init__(
        self,
        mode: str = "as_published",
        executor: Executor | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        if mode not in MODES:
            raise unknown("mode", mode, MODES)
        self.mode = mode
        self._executor = executor
        self._progress = progress
        self._frontiers: dict[CurveKey, Frontier] = {}

    def compute(self, keys: Iterable[CurveKey]) -> None:
        """Compute these curves, each once."""
        wanted = [key for key in dict.fromkeys(keys) if key not in self._frontiers]
        if self._executor is None:
            results: Iterable[Frontier] = (_frontier_of(key, self.mode) for key in wanted)
        else:
            futures = [self._executor.submit(_frontier_of, key, self.mode) for key in wanted]
            results = (future.result() for future in futures)
        for done, (key, result) in enumerate(zip(wanted, results, strict=True)):
            self._frontiers[key] = result
            if self._progress:
                self._progress(done + 1, len(wanted))

    def frontier(self, key: CurveKey) -> Frontier:
        """Return one curve."""
        self.compute([key])
        return self._frontiers[key]


def curve_rows(label: str, curve: Frontier) -> list[dict[str, Any]]:
    """Return a tidy table of a frontier, one row a run."""
    return [
        {
            "curve": label,
            "accelerator": curve.question.cluster.id,
            "sparsity_law": curve.question.family.sparsity,
            "batch_law": curve.question.family.batch_law,
            "training_flop": run.training_flop,
            "utilization": run.utilization,
            "num_gpus": run.num_gpus,
            "run_time_s": run.run_time_s,
            "d_model": run.model.d_model,
            "num_layers": run.model.num_layers,
            "num_experts": run.model.num_experts,
            "batch_tokens": run.model.batch_tokens,
            **{name: run.plan.degree(name) for name in DEGREES},
            "num_microbatches": run.plan.num_microbatches,
            "interleave": run.plan.interleave,
            "schedule": run.plan.schedule,
        }
        for run in curve.runs
    ]


def _utilization_figure(name: str, title: str, caption: str, curves: dict[str, Frontier], x_end: float) -> Figure:
    series = tuple(
        Series(label, tuple(curve.training_flop), tuple(curve.utilization)) for label, curve in curves.items()
    )
    rows = tuple(row for label, curve in curves.items() for row in curve_rows(label, curve))
    return Figure(
        name,
        title,
        caption,
        "training compute [FLOP, 16-bit]",
        "best achievable utilisation",
        (Panel("", series),),
        rows,
        y_percent=True,
        x_limits=(1e25, x_end),
        y_limits=(0, 1),
    )


def _ends(curves: dict[str, Frontier]) -> str:
    """Say in words where linear scaling ends on each curve, and where the wall is."""
    parts = []
    for label, curve in curves.items():
        end, wall = curve.linear_scaling_end(), curve.latency_wall
        linear = "beyond the grid" if end.envelope_flop is None else format_flop(end.envelope_flop, 2)
        last = "beyond the grid" if wall.first_infeasible_flop is None else format_flop(wall.first_infeasible_flop, 2)
        parts.append(f"{label}: linear scaling ends near {linear}, latency wall before {last} FLOP")
    return "; ".join(parts) + "."


def hardware_generations(study: Study, sparsity: str = "dense") -> Figure:
    """Utilisation against training compute on V100, A100 and H100 (specification 1.6, first figure)."""
    keys = {label: CurveKey(gpu, sparsity) for label, gpu in _GENERATIONS.items()}
    study.compute(keys.values())
    curves = {label: study.frontier(key) for label, key in keys.items()}
    caption = (
        f"How well the smallest sufficient cluster can be used in a three-month run, {sparsity} models. "
        f"{_ends(curves)} Newer accelerators compute faster than their memories and networks have grown, so the H100 "
        "leaves its plateau no later than the A100; the wall is set by latency, which is the same for all three."
    )
    return _utilization_figure(
        f"hardware_generations_{sparsity}", f"Hardware generations, {sparsity}", caption, curves, 2e32
    )


def network_technology(study: Study, sparsity: str = "dense") -> Figure:
    """Utilisation with better networks around an H100 (specification 1.6, second figure)."""
    keys = {label: CurveKey(gpu, sparsity) for label, gpu in _NETWORKS.items()}
    study.compute(keys.values())
    curves = {label: study.frontier(key) for label, key in keys.items()}
    caption = (
        f"What better networks would buy, {sparsity} models on H100s. {_ends(curves)} Bandwidth moves the end of linear "
        "scaling and leaves the wall where it is; a tenth of the latency moves the wall by more than a hundred times."
    )
    return _utilization_figure(
        f"network_technology_{sparsity}", f"Network technology, {sparsity}", caption, curves, 1e35
    )


def batch_size_scaling(study: Study) -> Figure:
    """Utilisation under three laws of how batches grow (specification 1.6, third figure)."""
    keys = {label: CurveKey("h100-sxm", "dense", law) for label, law in _BATCHES.items()}
    study.compute(keys.values())
    curves = {label: study.frontier(key) for label, key in keys.items()}
    caption = (
        f"How fast batches may grow decides more than any hardware here. {_ends(curves)} The reason is one number: "
        "alpha, the exponent of batch over depth, which enters every limit as 1 / (1 - 2 alpha)."
    )
    return _utilization_figure("batch_size_scaling", "Batch-size scaling, dense, H100", caption, curves, 1e37)


def parallelism_strategies(study: Study) -> Figure:
    """Share of each kind of parallelism in the best plan (specification 1.6, fourth figure)."""
    keys = {f"{label}, dense": CurveKey(gpu) for label, gpu in _GENERATIONS.items()}
    keys |= {f"{label}, sparse": CurveKey(gpu, "sparse") for label, gpu in _GENERATIONS.items()}
    study.compute(keys.values())
    panels, rows = [], []
    for label, key in keys.items():
        curve = study.frontier(key)
        shares = [_log_shares(run.num_gpus, run.plan) for run in curve.runs]
        kinds = ("TP", "DP", "PP") if key.sparsity == "dense" else ("TP", "DP", "PP", "EP")
        flop = tuple(curve.training_flop)
        panels.append(Panel(label, tuple(Series(kind, flop, tuple(s[kind] for s in shares)) for kind in kinds)))
        rows += [
            {"curve": label, "training_flop": x, "num_gpus": run.num_gpus, **{f"log_share_{k}": v for k, v in s.items()}}
            for x, run, s in zip(flop, curve.runs, shares, strict=True)
        ]
    caption = (
        "Each line is the logarithm of one degree of parallelism over the logarithm of the cluster's size, so that "
        "they add up to one. Tensor parallelism takes a growing share: batches and depth grow more slowly than "
        "clusters, and only width is left to divide."
    )
    return Figure(
        "parallelism_strategies",
        "Parallelism strategies",
        caption,
        "training compute [FLOP, 16-bit]",
        "log(degree) / log(GPUs)",
        tuple(panels),
        tuple(rows),
        x_limits=(1e25, 2e32),
        y_limits=(0, 1),
    )


def _log_shares(num_gpus: int, plan: Any) -> dict[str, float]:
    degrees = {
        "TP": plan.degree("tp_model") * plan.degree("tp_ff"),
        "DP": plan.degree("dp"),
        "PP": plan.degree("pp"),
        "EP": plan.degree("ep"),
    }
    return {kind: math.log(degree) / math.log(num_gpus) if num_gpus > 1 else 0.0 for kind, degree in degrees.items()}


def _alphas() -> list[float]:
    return [i / 100 for i in range(-20, 21)]


def t_crit_sensitivity(study: Study) -> Figure:
    """T_crit against the exponent alpha (specification 1.6, fifth figure)."""
    mended = study.mode == "corrected"
    series, rows = [], []
    for label, gpu in _GENERATIONS.items():
        node = NodeBalance.of(cluster(gpu, parameters=PARAMETERS))
        values = tuple(t_crit_flop(node, alpha, mac_reference=mended) for alpha in _alphas())
        series.append(Series(label, tuple(_alphas()), values))
        rows += [{"accelerator": gpu, "alpha": a, "t_crit_flop": v} for a, v in zip(_alphas(), values, strict=True)]
    powers = ", ".join(f"{name} {power:+g}" for name, power in sensitivities(T_CRIT_POWERS, 0).items())
    caption = (
        "Closed form of the compute at which data movement begins to cost utilisation. Powers at alpha = 0: "
        f"{powers}; at another alpha each is divided by 1 - 2 alpha. Faster arithmetic alone lowers it."
    )
    return _closed_form_figure("t_crit_sensitivity", "T_crit: where linear scaling ends", caption, series, rows)


def t_limit_sensitivity(study: Study) -> Figure:
    """T_limit against the exponent alpha (specification 1.6, sixth figure)."""
    values = tuple(t_limit_flop(alpha, mac_reference=study.mode == "corrected") for alpha in _alphas())
    rows = [{"alpha": a, "t_limit_flop": v} for a, v in zip(_alphas(), values, strict=True)]
    powers = ", ".join(f"{name} {power:+g}" for name, power in sensitivities(T_LIMIT_POWERS, 0).items())
    caption = (
        "Closed form of the compute beyond which latency alone takes longer than the run may, on any accelerator "
        f"with the same latency. Powers at alpha = 0: {powers}."
    )
    series = [Series("9 us a matmul and all-reduce", tuple(_alphas()), values)]
    return _closed_form_figure("t_limit_sensitivity", "T_limit: the latency wall", caption, series, rows)


def _closed_form_figure(
    name: str, title: str, caption: str, series: list[Series], rows: list[dict[str, Any]]
) -> Figure:
    return Figure(
        name,
        title,
        caption,
        "alpha: exponent of batch over depth in training compute",
        "training compute [FLOP, 16-bit]",
        (Panel("", tuple(series)),),
        tuple(rows),
        x_log=False,
        y_log=True,
        x_limits=(-0.2, 0.2),
    )


def article_figure(study: Study) -> Figure:
    """The public article's figure: an H100's curve, the wall, and what lies beyond (specification 1.6, last)."""
    curve = study.frontier(CurveKey("h100-sxm"))
    end, wall = curve.linear_scaling_end(), curve.latency_wall
    marks = []
    if end.first_crossing_flop:
        first = end.first_crossing_flop
        marks.append(Mark(first, f"linear scaling ends (first run at 80 % of the plateau): {format_flop(first, 2)}"))
    if wall.first_infeasible_flop:
        beyond = wall.first_infeasible_flop
        marks.append(Mark(beyond, f"latency wall (first infeasible run): {format_flop(beyond, 2)}", ends=True))
    series = Series("H100, default scaling", tuple(curve.training_flop), tuple(curve.utilization))
    caption = (
        "Two thresholds, often mixed up. Linear scaling ends where utilisation has fallen to 80 % of its plateau: "
        f"first near {format_flop(end.first_crossing_flop or math.inf, 2)} FLOP, for good near "
        f"{format_flop(end.last_crossing_flop or math.inf, 2)}. The latency wall is where no cluster of any size "
        "finishes in three months: the closed form says "
        f"{format_flop(t_limit_flop(), 2)}. \u201cAbout three years away\u201d was said of the first, not of the second."
    )
    return Figure(
        "article_figure",
        "How far a three-month run on H100s can scale",
        caption,
        "training compute [FLOP, 16-bit]",
        "best achievable utilisation",
        (Panel("", (series,), tuple(marks)),),
        tuple(curve_rows("H100", curve)),
        y_percent=True,
        x_limits=(1e25, 1e40),
        y_limits=(0, 0.8),
    )


FIGURES: dict[str, Callable[[Study], Figure]] = {
    "hardware_generations_dense": functools.partial(hardware_generations, sparsity="dense"),
    "hardware_generations_sparse": functools.partial(hardware_generations, sparsity="sparse"),
    "network_technology_dense": functools.partial(network_technology, sparsity="dense"),
    "network_technology_sparse": functools.partial(network_technology, sparsity="sparse"),
    "batch_size_scaling": batch_size_scaling,
    "parallelism_strategies": parallelism_strategies,
    "t_crit_sensitivity": t_crit_sensitivity,
    "t_limit_sensitivity": t_limit_sensitivity,
    "article_figure": article_figure,
}


@dataclass(frozen=True)
class Headline:
    """A number of the paper beside ours; None where the curve does not reach it."""

    quantity: str
    accelerator: str
    setting: str
    paper_flop: float
    printed: str
    kind: str
    locator: str
    ours_flop: float | None

    @property
    def deviation(self) -> float | None:
        """Ours over the paper's, minus one."""
        return None if self.ours_flop is None else self.ours_flop / self.paper_flop - 1

    @property
    def agrees(self) -> bool:
        """Whether ours rounds to the digits that were printed."""
        return self.ours_flop is not None and format_flop(self.ours_flop, 3) == self.printed


def headlines(study: Study) -> list[Headline]:
    """Return the headline numbers of specification 1.4 and 1.5, the paper's beside ours.

    Published values are of kind ``paper`` (printed by the authors) or ``program`` (their program run unchanged).
    """
    with (data_root() / "published" / "erdil2024.csv").open(encoding="utf-8", newline="") as file:
        published = list(csv.DictReader(file))
    keys = [_curve_key(row) for row in published if row["batch_law"]]
    study.compute(keys)
    return [
        Headline(
            quantity=row["quantity"],
            accelerator=row["accelerator"],
            setting=f"alpha {row['alpha']}" if row["alpha"] else f"{row['sparsity']}, {row['batch_law']} batch",
            paper_flop=float(row["value"]),
            printed=row["printed"],
            kind=row["kind"],
            locator=row["locator"],
            ours_flop=_ours(study, row),
        )
        for row in published
    ]


def _curve_key(row: dict[str, str]) -> CurveKey:
    return CurveKey(row["accelerator"], row["sparsity"], row["batch_law"], float(row["years"]))


def _ours(study: Study, row: dict[str, str]) -> float | None:
    mended = study.mode == "corrected"
    if row["quantity"] == "t_crit":
        node = NodeBalance.of(cluster(row["accelerator"], parameters=PARAMETERS))
        return t_crit_flop(node, float(row["alpha"]), mac_reference=mended)
    if row["quantity"] == "t_limit":
        return t_limit_flop(float(row["alpha"]), mac_reference=mended)
    curve = study.frontier(_curve_key(row))
    if row["quantity"] == "linear_scaling_end":
        return curve.linear_scaling_end().first_crossing_flop
    return curve.latency_wall.last_feasible_flop
