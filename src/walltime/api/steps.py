"""One plan: how long a step takes under it, what happens when, and the configuration that launches it."""

from typing import overload

from walltime.api.names import model as _model
from walltime.api.names import reading, usual_seq_len, usual_stack
from walltime.catalog import DATASHEET, ModelRecord, parameter_set
from walltime.engines import Assumptions, Estimate, transformer
from walltime.engines import estimate as _engine
from walltime.engines.compatibility import check_stack
from walltime.engines.known_cluster import known_cluster
from walltime.engines.stack import Stack
from walltime.engines.stack import stack as _stack
from walltime.engines.transformer import TransformerEstimate
from walltime.hardware import Cluster
from walltime.interop.run import Run
from walltime.interop.targets import Files, export_files
from walltime.plan import MlpPlan, MlpPlanBatch, Plan, PlanBatch, check_plan
from walltime.problems import BadInput
from walltime.report.timeline import DrawnTimeline, drawn
from walltime.search import placed_plan
from walltime.units import positive
from walltime.workload import MlpStack, Training, Transformer
from walltime.workload.catalog import transformer as _catalog_transformer
from walltime.workload.flop import Convention


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
        read, _ = reading(assumptions, None)
        return _engine(model, cluster, MlpPlanBatch.of([placed_plan(model, cluster, plan, read)]), read)
    if not isinstance(plan, Plan):
        raise BadInput(f"plan: real models need a Plan, not a {type(plan).__name__}. Valid: Plan(tp=8, pp=16, dp=128).")
    if batch_seqs is None:
        raise BadInput("batch_seqs is not given. Valid: sequences in a step, for example batch_seqs=2048.")
    training = Training(model, usual_seq_len(model) if seq_len is None else seq_len, batch_seqs)
    software = stack if isinstance(stack, Stack) else _stack(stack or usual_stack([cluster]))
    known = known_cluster(cluster)
    check_plan(plan, training, known)
    check_stack(plan, training, software)
    num_steps = 1.0 if tokens is None else positive(tokens, "tokens") / training.batch_tokens
    plans = PlanBatch.of([plan])
    return transformer.estimate(training, known, plans, software, convention=convention, num_steps=num_steps)


def timeline(
    model: Transformer | str,
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
    made = _model(model) if isinstance(model, str) else model
    if not isinstance(made, Transformer):
        raise BadInput(f"model={model!r} is no real model. Valid: llama-3.1-405b.")
    result = estimate(made, cluster, plan, seq_len=seq_len, batch_seqs=batch_seqs, stack=stack)
    return drawn(result.timeline())


def export(
    model: Transformer | str,
    cluster: Cluster,
    plan: Plan,
    *,
    to: str,
    batch_seqs: int,
    seq_len: int | None = None,
    stack: str | Stack | None = None,
    convention: Convention = "causal-attention",
    tokens: float | None = None,
    slurm: bool = False,
) -> Files:
    """Return a run of a real model as the configuration of another program: texts of files by their names.

    Parameters
    ----------
    model
        A model of the catalog, or its name, or the path of its file: files say by which command they are made again.
    to
        ``megatron``, ``megatron-bridge`` (or ``nemo``), ``torchtitan``, ``deepspeed``; ``toml`` or ``json`` for a file
        that ``walltime estimate`` reads back.
    slurm
        Started by a Slurm batch script.
    cluster, plan, batch_seqs, seq_len, stack, convention, tokens
        As for `estimate`.

    Raises
    ------
    BadInput
        As `estimate`, or an unknown target.
    NegativeAnswer
        The target cannot express the model or the plan; the message says what it could.
    """
    name, made = _named(model)
    training = Training(made, usual_seq_len(made) if seq_len is None else seq_len, batch_seqs)
    software = stack if isinstance(stack, Stack) else _stack(stack or usual_stack([cluster]))
    run = Run(name, training, known_cluster(cluster), plan, software, tokens, convention=convention)
    check_plan(plan, training, run.cluster)
    check_stack(plan, training, software)
    return export_files(run, to, slurm=slurm)


def _named(given: Transformer | str) -> tuple[str, Transformer]:
    """Return a model with the name by which `model` finds it."""
    if isinstance(given, str):
        found = _model(given)
        if not isinstance(found, Transformer):
            raise BadInput(f"model={given} is one of the theory's. Valid: a real model, llama-3.1-405b.")
        return given, found
    if parameter_set(DATASHEET).find(ModelRecord, given.name) and _catalog_transformer(given.name) == given:
        return given.name, given
    raise BadInput(f"model={given.name} is not the catalog's. Valid: the path of its file instead of the model itself.")
