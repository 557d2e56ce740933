"""Erdil & Schneider-Joseph (2024), Data movement limits to frontier model training: figures and headlines.

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
from walltime.problems import unknown
from walltime.search import FULL, PUBLISHED
from walltime.studies import captions
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
CLUSTER_LABELS = {cluster_id: label for label, cluster_id in (_NETWORKS | _GENERATIONS).items()}
"""What the figures call each cluster."""
_BATCHES = {"No scaling": "none", "Default": "default", "DeepSeek": "deepseek"}

COMPUTE = "training compute [FLOP, 16-bit]"
UTILIZATION = "best achievable utilisation"
_X_START = 5e24


def study_curves() -> list[CurveKey]:
    """Return the 19 curves of the paper's studies, in order; a curve appears in each that shows it."""
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


def frontier_of(key: CurveKey, mode: str) -> Frontier:
    """Compute one curve."""
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
            results: Iterable[Frontier] = (frontier_of(key, self.mode) for key in wanted)
        else:
            futures = [self._executor.submit(frontier_of, key, self.mode) for key in wanted]
            results = (future.result() for future in futures)
        for done, (key, result) in enumerate(zip(wanted, results, strict=True)):
            self._frontiers[key] = result
            if self._progress:
                self._progress(done + 1, len(wanted))

    def frontier(self, key: CurveKey) -> Frontier:
        """Return one curve."""
        self.compute([key])
        return self._frontiers[key]


def _curve_rows(label: str, curve: Frontier) -> list[dict[str, Any]]:
    return [{"curve": label, **row} for row in curve.to_rows()]


def _utilization_figure(name: str, title: str, caption: str, curves: dict[str, Frontier], x_end: float) -> Figure:
    series = tuple(
        Series(label, tuple(curve.training_flop), tuple(curve.utilization)) for label, curve in curves.items()
    )
    rows = tuple(row for label, curve in curves.items() for row in _curve_rows(label, curve))
    return Figure(
        name,
        title,
        caption,
        COMPUTE,
        UTILIZATION,
        (Panel("", series, captions.wall_marks(curves)),),
        rows,
        y_percent=True,
        x_limits=(_X_START, x_end),
        y_limits=(0, 1 if max(map(max, (s.y for s in series))) > 0.75 else 0.8),
    )


def _curves(study: Study, keys: dict[str, CurveKey]) -> dict[str, Frontier]:
    study.compute(keys.values())
    return {label: study.frontier(key) for label, key in keys.items()}


def hardware_generations(study: Study, sparsity: str = "dense") -> Figure:
    """Utilisation against training compute on V100, A100 and H100."""
    curves = _curves(study, {label: CurveKey(gpu, sparsity) for label, gpu in _GENERATIONS.items()})
    chosen = Assumptions.named(study.mode).cluster_choice.replace("_", " ")
    caption = (
        f"How well the {chosen} sufficient cluster can be used in a three-month run, {sparsity} models. "
        f"{captions.ends(curves)} {captions.h100_beside_a100(curves)}"
    )
    if len(captions.same_wall(curves)) == 1:
        caption += " The wall is set by latency, which is the same for all three."
    return _utilization_figure(
        f"hardware_generations_{sparsity}", f"Hardware generations, {sparsity}", caption, curves, 1e33
    )


def network_technology(study: Study, sparsity: str = "dense") -> Figure:
    """Utilisation with better networks around an H100."""
    curves = _curves(study, {label: CurveKey(gpu, sparsity) for label, gpu in _NETWORKS.items()})
    effects = (
        ("Global NVLink alone", "Global NVLink"),
        ("A tenth of the latency alone", "H100, latencies / 10"),
    )
    said = " ".join(captions.effect(cause, curves[label], curves["H100"]) for cause, label in effects)
    caption = f"What better networks would buy, {sparsity} models on H100s. {captions.ends(curves)} {said}"
    return _utilization_figure(
        f"network_technology_{sparsity}", f"Network technology, {sparsity}", caption, curves, 1e35
    )


def batch_size_scaling(study: Study) -> Figure:
    """Utilisation under three laws of how batches grow."""
    curves = _curves(study, {label: CurveKey("h100-sxm", "dense", law) for label, law in _BATCHES.items()})
    further = captions.first_crossing_ratio(curves["DeepSeek"], curves["No scaling"])
    effect = "" if further is None else f" The law alone {captions.moved('the end of linear scaling', further)}."
    caption = (
        f"How far a run scales if batches may grow faster or slower with its compute, on the same hardware. "
        f"{captions.ends(curves)}{effect} The closed forms say why: what counts is α, the exponent of "
        "batch over depth, and it enters both as the power 1 / (1 − 2α)."
    )
    return _utilization_figure("batch_size_scaling", "Batch-size scaling, dense, H100", caption, curves, 1e37)


_KINDS = {"TP": "tensor (TP)", "DP": "data (DP)", "PP": "pipeline (PP)", "EP": "expert (EP)"}


def parallelism_strategies(study: Study) -> Figure:
    """Share of each kind of parallelism in the best plan."""
    keys = {f"{label}, dense": CurveKey(gpu) for label, gpu in _GENERATIONS.items()}
    keys |= {f"{label}, sparse": CurveKey(gpu, "sparse") for label, gpu in _GENERATIONS.items()}
    panels, rows, shares_of = [], [], {}
    for label, curve in _curves(study, keys).items():
        shares = shares_of[label] = [_log_shares(run.num_gpus, run.plan) for run in curve.runs]
        kinds = [kind for kind in _KINDS if kind != "EP" or keys[label].sparsity == "sparse"]
        flop = tuple(curve.training_flop)
        series = (Series(_KINDS[kind], flop, tuple(s[kind] for s in shares)) for kind in kinds)
        panels.append(Panel(label, tuple(series)))
        rows += [
            {
                "curve": label,
                "training_flop": x,
                "num_gpus": run.num_gpus,
                **{f"log_share_{k}": v for k, v in s.items()},
            }
            for x, run, s in zip(flop, curve.runs, shares, strict=True)
        ]
    first, last = ({k: captions.span(s[i][k] for s in shares_of.values()) for k in _KINDS} for i in (0, -1))
    caption = (
        "Each line is the logarithm of one degree of parallelism over the logarithm of the cluster's size, "
        "so that the lines of a panel add up to one. From the smallest run to the largest, the pipeline's "
        f"share goes from {first['PP']} to {last['PP']} over the panels, data parallelism's from "
        f"{first['DP']} to {last['DP']} and tensor parallelism's from {first['TP']} to {last['TP']}. Depth "
        "grows more slowly than clusters do."
    )
    return Figure(
        "parallelism_strategies",
        "Parallelism strategies of the best plans",
        caption,
        COMPUTE,
        "log(degree) / log(GPUs)",
        tuple(panels),
        tuple(rows),
        x_limits=(_X_START, 2e32),
        y_limits=(0, 0.75),
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
    """T_crit against the exponent alpha."""
    mended = study.mode == "corrected"
    nodes = {label: NodeBalance.of(cluster(gpu, parameters=PARAMETERS)) for label, gpu in _GENERATIONS.items()}
    series, rows = [], []
    for label, node in nodes.items():
        values = tuple(t_crit_flop(node, alpha, mac_reference=mended) for alpha in _alphas())
        series.append(Series(label, tuple(_alphas()), values))
        gpu = _GENERATIONS[label]
        rows += [{"accelerator": gpu, "alpha": a, "t_crit_flop": v} for a, v in zip(_alphas(), values, strict=True)]
    at_zero = captions.listed(f"{captions.flop(t_crit_flop(node))} FLOP for {label}" for label, node in nodes.items())
    last, node = _alphas()[-1], nodes["H100"]
    powers = captions.powers(sensitivities(T_CRIT_POWERS, 0))
    caption = (
        "Closed form of the compute at which data movement begins to cost utilisation, against α, the "
        f"exponent of batch over depth. At α = 0 it is {at_zero}, and goes with {powers}; at another α "
        "each power is divided by 1 − 2α. Faster arithmetic alone lowers it. "
        + captions.reference_compute(
            mended, t_crit_flop(node, last, mac_reference=True) / t_crit_flop(node, last), last
        )
    )
    return _closed_form_figure("t_crit_sensitivity", "T_crit: where linear scaling ends", caption, series, rows)


def t_limit_sensitivity(study: Study) -> Figure:
    """T_limit against the exponent alpha."""
    mended = study.mode == "corrected"
    values = tuple(t_limit_flop(alpha, mac_reference=mended) for alpha in _alphas())
    rows = [{"alpha": a, "t_limit_flop": v} for a, v in zip(_alphas(), values, strict=True)]
    last = _alphas()[-1]
    caption = (
        "Closed form of the compute beyond which latency alone takes longer than the run may, on any "
        f"accelerator with the same latency. At α = 0 it is {captions.flop(t_limit_flop())} FLOP, and goes "
        f"with {captions.powers(sensitivities(T_LIMIT_POWERS, 0))}; at another α each power is divided by "
        "1 − 2α. "
        + captions.reference_compute(mended, t_limit_flop(last, mac_reference=True) / t_limit_flop(last), last)
    )
    step_us = constants("closed_form")["matmul_and_all_reduce_s"] / 1e-6
    series = [Series(f"{step_us:g} μs for a matmul and its all-reduce", tuple(_alphas()), values)]
    return _closed_form_figure("t_limit_sensitivity", "T_limit: the latency wall", caption, series, rows)


def _closed_form_figure(
    name: str, title: str, caption: str, series: list[Series], rows: list[dict[str, Any]]
) -> Figure:
    return Figure(
        name,
        title,
        caption,
        "α, exponent of batch over depth in training compute",
        COMPUTE,
        (Panel("", tuple(series)),),
        tuple(rows),
        x_log=False,
        y_log=True,
        x_limits=(-0.2, 0.2),
    )


def article_figure(study: Study) -> Figure:
    """The public article's figure: an H100's curve, the wall, and what lies beyond."""
    curve = study.frontier(CurveKey("h100-sxm"))
    end, wall = curve.linear_scaling_end(), curve.latency_wall
    share, marks = f"{100 * end.fraction:.0f} % of the plateau", []
    if end.first_crossing_flop:
        first = end.first_crossing_flop
        marks.append(Mark(first, f"linear scaling ends: first run at {share}, {captions.flop(first)}"))
    if wall.first_infeasible_flop:
        beyond = wall.first_infeasible_flop
        marks.append(Mark(beyond, f"latency wall: first infeasible run, {captions.flop(beyond)}", ends=True))
    series = Series("H100, dense", tuple(curve.training_flop), tuple(curve.utilization))
    return Figure(
        "article_figure",
        "How far a three-month run on H100s can scale",
        captions.two_thresholds(curve, t_limit_flop()),
        COMPUTE,
        UTILIZATION,
        (Panel("", (series,), tuple(marks)),),
        tuple(_curve_rows("H100", curve)),
        y_percent=True,
        x_limits=(_X_START, 1e40),
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
    """Return the headline numbers of the paper and its program, the paper's beside ours.

    Published values are of kind ``paper`` (printed by the authors) or ``program`` (theirs, run unchanged).
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
