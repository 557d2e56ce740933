"""The verbs from Python: `model`, `cluster`, `estimate`, `timeline`, `search`, `limits`; commands call these too."""

import re
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from pathlib import Path
from typing import NoReturn, overload

from walltime import hardware
from walltime.catalog import DATASHEET, ModelRecord, parameter_set
from walltime.engines import Assumptions, Estimate, transformer
from walltime.engines import estimate as _engine
from walltime.engines.compatibility import check_stack
from walltime.engines.known_cluster import known_cluster
from walltime.engines.stack import Stack
from walltime.engines.stack import stack as _stack
from walltime.engines.transformer import TransformerEstimate
from walltime.hardware import Cluster
from walltime.limits import Frontier, FrontierQuestion, RunFamily, frontier
from walltime.limits.scaling_laws import constants
from walltime.plan import MlpPlan, MlpPlanBatch, Plan, PlanBatch, check_plan
from walltime.problems import BadInput, NegativeAnswer
from walltime.report.timeline import DrawnTimeline, drawn
from walltime.search import Search, Space, placed_plan
from walltime.units import LARGEST_SIZE, format_si, positive, whole, whole_in
from walltime.workload import MlpStack, Training, Transformer
from walltime.workload.catalog import transformer as _catalog_transformer
from walltime.workload.catalog import transformer_from_file
from walltime.workload.flop import Convention

PREFERRED = "Erdil2024"
"""The parameter set whose numbers are taken for an accelerator that it has."""


USUAL_SEQ_LEN = 4096
"""Sequence length where none is given and the model has no table of positions that says. [tokens]"""
USUAL_STACK = "megatron-core"
"""The software that trains real models where none is named."""


def model(
    name: str,
    *,
    sparsity: str = "dense",
    batch_law: str = "default",
    seq_len: int | None = None,
    **sizes: int | None,
) -> MlpStack | Transformer:
    """Return a model: of the catalog (``llama-3.1-405b``), of a TOML file, or the theory's of a width (``mlp-53248``).

    Parameters
    ----------
    name
        A name of the catalog, the path of a TOML file (`walltime.workload.catalog.transformer_from_file`), or
        ``mlp-`` and d_model.
    sparsity, batch_law, seq_len
        Of the theory's models only: the family of runs that depth, experts and batch come from.
    sizes
        Of the theory's models only: ``d_ff``, ``num_layers``, ``num_experts`` or ``batch_tokens`` instead of the
        family's.

    Raises
    ------
    BadInput
        Another name, an unknown law, a size below 1, a law or a size for a real model.
    """
    if is_theory(name):
        return theory_model(name, sparsity=sparsity, batch_law=batch_law, seq_len=seq_len, **sizes)
    if (sparsity, batch_law, seq_len) != ("dense", "default", None) or any(size is not None for size in sizes.values()):
        raise BadInput(f"{name} has its own dimensions: laws and sizes are for mlp-D. seq_len belongs to the estimate.")
    if is_path(name):
        return transformer_from_file(Path(name))
    return _catalog_transformer(name)


def is_theory(name: str) -> bool:
    """Whether a model's name is one of the theory's, or meant to be."""
    return name.lower().startswith("mlp")


def is_path(name: str) -> bool:
    """Whether a model's name is that of a file; ``meta-llama/Llama-3.1-405B`` is a name of the catalog."""
    if name.endswith(".toml"):
        return True
    return "/" in name and parameter_set(DATASHEET).find(ModelRecord, name) is None


def theory_model(
    name: str,
    *,
    sparsity: str = "dense",
    batch_law: str = "default",
    seq_len: int | None = None,
    **sizes: int | None,
) -> MlpStack:
    """Return the theory's model of a width; arguments as for `model`."""
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


@overload
def estimate(model: MlpStack, cluster: Cluster, plan: MlpPlan, *, assumptions: str | Assumptions = ...) -> Estimate: ...


@overload
def estimate(
    model: Transformer,
    cluster: Cluster,
    plan: Plan,
    *,
    batch_seqs: int,
    seq_len: int | None = ...,
    stack: str | Stack | None = ...,
    convention: Convention = ...,
    tokens: float | None = ...,
) -> TransformerEstimate: ...


def estimate(
    model: MlpStack | Transformer,
    cluster: Cluster,
    plan: MlpPlan | Plan,
    *,
    assumptions: str | Assumptions = "as_published",
    seq_len: int | None = None,
    batch_seqs: int | None = None,
    stack: str | Stack | None = None,
    convention: Convention = "causal-attention",
    tokens: float | None = None,
) -> Estimate | TransformerEstimate:
    """Return how long a step takes under a plan: by the theory for its models, by the transformer engine for real ones.

    Parameters
    ----------
    model, cluster
        What is trained, on what. Real models take the datasheets' numbers: a cluster with another study's is replaced
        by the datasheets' cluster of the same name.
    plan
        A `Plan` for a real model. An `MlpPlan` for the theory's, with degrees over all network levels or, as lists, by
        level; it is placed on the levels if it is not yet.
    assumptions
        Of the theory only, as for `search`.
    seq_len, batch_seqs
        Of real models only: tokens in a sequence (by default as many as the model has positions, or 4,096), sequences
        in a step.
    stack
        Of real models only: the training software, ``megatron-core`` by default.
    convention
        Of real models only: how model FLOP are counted (`walltime.workload.flop`).
    tokens
        Of real models only: tokens of the whole run; one step by default.

    Raises
    ------
    BadInput
        The plan does not divide the model or the cluster, or is one of the other kind.
    """
    if isinstance(model, MlpStack):
        if not isinstance(plan, MlpPlan):
            raise BadInput(f"plan: the theory's models need an MlpPlan, not a {type(plan).__name__}.")
        if any(given is not None for given in (seq_len, batch_seqs, stack, tokens)):
            raise BadInput("seq_len, batch_seqs, stack and tokens are for real models; mlp-D has its own batch.")
        read, _ = _read(assumptions, None)
        return _engine(model, cluster, MlpPlanBatch.of([placed_plan(model, cluster, plan, read)]), read)
    if not isinstance(plan, Plan):
        raise BadInput(f"plan: real models need a Plan, not a {type(plan).__name__}. Valid: Plan(tp=8, pp=16, dp=128).")
    if batch_seqs is None:
        raise BadInput("batch_seqs is not given. Valid: sequences in a step, for example batch_seqs=2048.")
    training = Training(model, usual_seq_len(model) if seq_len is None else seq_len, batch_seqs)
    software = stack if isinstance(stack, Stack) else _stack(stack or USUAL_STACK)
    known = known_cluster(cluster)
    check_plan(plan, training, known)
    check_stack(plan, training, software)
    num_steps = 1.0 if tokens is None else positive(tokens, "tokens") / training.batch_tokens
    plans = PlanBatch.of([plan])
    return transformer.estimate(training, known, plans, software, convention=convention, num_steps=num_steps)


def timeline(
    model: Transformer,
    cluster: Cluster,
    plan: Plan,
    *,
    batch_seqs: int,
    seq_len: int | None = None,
    stack: str | Stack | None = None,
) -> DrawnTimeline:
    """Return what each pipeline stage does in a step, and when: a simulation that shares the estimate's numbers.

    Parameters
    ----------
    model, cluster, plan, batch_seqs, seq_len, stack
        As for `estimate`.

    Returns
    -------
    DrawnTimeline
        Events in time; `svg()`, `text()` and `to_rows()` show them.

    Raises
    ------
    BadInput
        The plan does not divide the model or the cluster, or has more passes than are worth drawing.
    """
    result = estimate(model, cluster, plan, seq_len=seq_len, batch_seqs=batch_seqs, stack=stack)
    return drawn(result.timeline())


def usual_seq_len(model: Transformer) -> int:
    """Return the sequence length that is taken where none is given: as many positions as are learned, or 4,096."""
    return model.num_positions or USUAL_SEQ_LEN


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


__all__ = ["cluster", "estimate", "limits", "model", "search", "timeline"]
