"""The verbs from Python: `model`, `cluster`, `estimate`, `search`, `limits`. The command line calls these too."""

import re
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from pathlib import Path
from typing import NoReturn

from walltime import hardware
from walltime.engines import Assumptions, Estimate
from walltime.engines import estimate as _engine
from walltime.hardware import Cluster
from walltime.limits import Frontier, FrontierQuestion, RunFamily, frontier
from walltime.limits.scaling_laws import constants
from walltime.plan import MlpPlan, MlpPlanBatch
from walltime.problems import BadInput, NegativeAnswer
from walltime.search import Search, Space, placed_plan
from walltime.units import LARGEST_SIZE, format_si, whole, whole_in
from walltime.workload import MlpStack

PREFERRED = "Erdil2024"
"""The parameter set whose numbers are taken for an accelerator that it has."""


def model(
    name: str,
    *,
    sparsity: str = "dense",
    batch_law: str = "default",
    seq_len: int | None = None,
    **sizes: int | None,
) -> MlpStack:
    """Return the theory's model of a width: ``mlp-53248`` has d_model 53,248.

    Parameters
    ----------
    name
        ``mlp-`` and d_model.
    sparsity, batch_law, seq_len
        The family of runs that its depth, experts and batch come from.
    sizes
        ``d_ff``, ``num_layers``, ``num_experts`` or ``batch_tokens`` instead of the family's.

    Raises
    ------
    BadInput
        Another name, an unknown law, a size below 1.
    """
    match = re.fullmatch(r"mlp-(\d+)", name)
    if not match:
        raise BadInput(f"unknown model {name!r} for the engine erdil. Valid: mlp-D with D = d_model (mlp-53248).")
    d_model = whole_in(match[1], "d_model", LARGEST_SIZE)
    given = {field: whole(size, field, LARGEST_SIZE) for field, size in sizes.items() if size is not None}
    made = RunFamily(sparsity, batch_law, seq_len=seq_len).model(d_model, **given)
    if "batch_tokens" in given and made.batch_tokens % made.num_experts:
        raise BadInput(f"batch_tokens={made.batch_tokens} must be a multiple of num_experts={made.num_experts}.")
    return made


def cluster(
    name: str,
    num_gpus: int | None = None,
    *,
    parameters: str | None = None,
    precision: str | None = None,
    settings: Iterable[str] = (),
) -> Cluster:
    """Return a cluster by name or from a TOML file.

    Parameters
    ----------
    name
        A cluster or accelerator of the catalog, or the path of a TOML file (`walltime.hardware.cluster_from_file`).
    num_gpus
        How many accelerators.
    parameters
        Whose numbers: a parameter set or ``datasheet``. By default Erdil2024 for accelerators that it has.
    precision
        A number format of the accelerator; 16-bit by default.
    settings
        What if? For example ``["network.latency=0.5x"]`` (`walltime.hardware.override`).
    """
    if name.endswith(".toml") or "/" in name:
        chosen = hardware.cluster_from_file(Path(name), parameters, precision)
    else:
        numbers = parameters or hardware.resolve_parameters(name, PREFERRED)
        chosen = hardware.cluster(name, parameters=numbers, precision=precision)
    chosen = hardware.override(chosen, settings)
    return chosen if num_gpus is None else chosen.with_num_gpus(num_gpus)


def usual_space(assumptions: Assumptions) -> str:
    """Return the space of plans that goes with a reading: the full one if all defects are mended."""
    return "full" if assumptions.is_corrected else "published"


def _read(assumptions: str | Assumptions, space: str | None) -> tuple[Assumptions, Space]:
    """Return how the model is read and which plans are tried."""
    read = Assumptions.named(assumptions) if isinstance(assumptions, str) else assumptions
    return read, Space(space or usual_space(read))


def search(
    model: MlpStack, cluster: Cluster, *, assumptions: str | Assumptions = "as_published", space: str | None = None
) -> MlpPlan:
    """Return the fastest plan for a model on a cluster of a given size.

    Parameters
    ----------
    model, cluster
        What is trained, on what.
    assumptions
        ``as_published``, ``corrected``, or an `Assumptions` record.
    space
        ``published`` or ``full``; by default the full one if corrected.

    Raises
    ------
    NegativeAnswer
        No plan of the space divides model and cluster, and fits its memory; the nearest smaller cluster that has
        one is named.
    """
    read, tried = _read(assumptions, space)
    if cluster.num_gpus is None:
        raise BadInput("search needs a cluster with a number of accelerators.")
    finder = Search(model, cluster, tried, read)
    found = finder.best(cluster.num_gpus)
    return found.plan if found else _no_plan(finder, cluster)


def _no_plan(finder: Search, cluster: Cluster) -> NoReturn:
    """Say why there is none: too little memory, or numbers that do not divide, with the nearest that do."""
    num_gpus = cluster.num_gpus or 0
    there = num_gpus * cluster.accelerator.hbm_bytes
    needed = float(finder.needed_bytes(1))
    if needed > there:
        raise NegativeAnswer(
            f"does not fit: weights, gradients and optimizer state need {format_si(needed, 'B')}; "
            f"{num_gpus:,} accelerators have {format_si(there, 'B')}."
        )
    candidates = range(num_gpus - 1, max(0, num_gpus - _LOOK_DOWN), -1)
    nearest = next((n for n in candidates if finder.best(n)), None)
    near = f" The nearest smaller cluster with one has {nearest:,}." if nearest else ""
    raise NegativeAnswer(
        f"no plan of the {finder.space.name} space divides this model and {num_gpus:,} accelerators, and fits.{near}"
    )


_LOOK_DOWN = 512


def estimate(
    model: MlpStack, cluster: Cluster, plan: MlpPlan, *, assumptions: str | Assumptions = "as_published"
) -> Estimate:
    """Return how long a step takes under a plan, which is placed on the network's levels if it is not yet.

    Parameters
    ----------
    model, cluster, assumptions
        As for `search`.
    plan
        Degrees over all network levels or, as lists, by level.

    Raises
    ------
    BadInput
        The plan does not divide the model or the cluster.
    """
    read, _ = _read(assumptions, None)
    return _engine(model, cluster, MlpPlanBatch.of([placed_plan(model, cluster, plan, read)]), read)


def limits(
    cluster: Cluster,
    *,
    sparsity: str = "dense",
    batch_law: str = "default",
    seq_len: int | None = None,
    duration_s: float | None = None,
    assumptions: str | Assumptions = "as_published",
    space: str | None = None,
    widths: Iterable[int] = (),
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Frontier:
    """Return how far a family of runs can scale on one kind of cluster.

    Parameters
    ----------
    cluster
        Its number of accelerators is what is searched.
    sparsity, batch_law, seq_len
        The family of runs.
    duration_s
        How long a run may take; three of the study's months by default. [s]
    assumptions, space
        As for `search`.
    widths
        d_model of the runs; the published grid by default.
    executor, progress
        As for `walltime.limits.frontier`.

    Examples
    --------
    >>> curve = limits(cluster("h100-sxm"))
    >>> f"{curve.linear_scaling_end().first_crossing_flop:.2e}"
    '2.05e+28'
    """
    read, tried = _read(assumptions, space)
    run = constants("run")
    question = FrontierQuestion(
        cluster=cluster,
        family=RunFamily(sparsity, batch_law, seq_len=seq_len),
        deadline_s=run["years"] * run["seconds_per_year"] if duration_s is None else duration_s,
        space=tried,
        assumptions=read,
        widths=tuple(widths),
    )
    return frontier(question, executor, progress)


__all__ = ["cluster", "estimate", "limits", "model", "search"]
