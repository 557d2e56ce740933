"""The best plan for a model on a cluster."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, overload

from walltime.api.names import model as _model
from walltime.api.names import reading, usual_seq_len, usual_stack
from walltime.economics.terms import USUAL_TERMS, Terms
from walltime.engines import Assumptions
from walltime.engines.known_cluster import known_cluster
from walltime.engines.stack import Stack
from walltime.engines.stack import stack as _stack
from walltime.hardware import Cluster
from walltime.plan import MlpPlan, Precision
from walltime.planner import Answer, Goal, Question, recommend
from walltime.planner.relax import no_plan_text
from walltime.problems import BadInput, NegativeAnswer
from walltime.search import Search
from walltime.search.constraints import Constraints, values_of
from walltime.units import format_si
from walltime.workload import MlpStack, Training, Transformer


@overload
def search(
    model: MlpStack, cluster: Cluster, *, assumptions: str | Assumptions = ..., space: str | None = ...
) -> MlpPlan: ...


@overload
def search(
    model: Transformer | str,
    cluster: Cluster | Sequence[Cluster],
    *,
    batch_seqs: int,
    seq_len: int | None = ...,
    goal: Goal = ...,
    top: int = ...,
    stack: str | Stack | None = ...,
    precisions: Precision | Sequence[Precision] = ...,
    fix: Mapping[str, Any] | None = ...,
    least: Mapping[str, int] | None = ...,
    most: Mapping[str, int] | None = ...,
    min_free_bytes: float = ...,
    tokens: float | None = ...,
    deadline_s: float | None = ...,
    terms: Terms = ...,
    progress: Callable[[int, int], None] | None = ...,
) -> Answer: ...


def search(
    model: MlpStack | Transformer | str,
    cluster: Cluster | Sequence[Cluster],
    *,
    assumptions: str | Assumptions = "as_published",
    space: str | None = None,
    batch_seqs: int | None = None,
    seq_len: int | None = None,
    goal: Goal = "time",
    top: int = Question.top,
    stack: str | Stack | None = None,
    precisions: Precision | Sequence[Precision] = (),
    fix: Mapping[str, Any] | None = None,
    least: Mapping[str, int] | None = None,
    most: Mapping[str, int] | None = None,
    min_free_bytes: float = 0.0,
    tokens: float | None = None,
    deadline_s: float | None = None,
    terms: Terms = USUAL_TERMS,
    progress: Callable[[int, int], None] | None = None,
) -> MlpPlan | Answer:
    """Return the best plans for a real model as an `Answer`; for one of the theory's models the fastest plan.

    Parameters
    ----------
    model, cluster
        What is trained, or its name; on what. A real model may be asked about on several clusters, each with its number
        of accelerators.
    assumptions, space
        Of the theory only: ``as_published``, ``corrected``, or an `Assumptions` record; and ``published`` or ``full``,
        by default the full space if corrected.
    batch_seqs, seq_len
        Of real models only, as all that follows: sequences in a step; tokens in a sequence, by default as many as the
        model has positions, or 4,096.
    goal
        What is best: ``time``, ``cost``, ``energy``, ``memory`` or ``gpus``.
    top
        Layouts that are wanted.
    stack
        The training software, ``megatron-core`` by default.
    precisions
        Number formats that are allowed; the usual 16-bit one by default.
    fix, least, most
        Values that fields of a plan may have (``{"tp": 8, "sharding": ("zero1", "zero3")}``), and bounds of degrees.
    min_free_bytes
        Memory that must stay free on the fullest accelerator. [B]
    tokens, deadline_s
        Tokens of the whole run, and how long it may take. [s]
    terms
        Rented or owned, prices, power, failures: ``wt.Terms(price_usd_per_gpu_hour={"h100-sxm": 2.5})``; list prices
        and the catalog's numbers by default.
    progress
        Called with clusters searched and clusters in all.

    Raises
    ------
    NegativeAnswer
        No plan divides model, batch and cluster, fits, and is what was asked for. The message says what excluded how
        many plans, and the smallest relaxation that gives an answer.

    Examples
    --------
    >>> import walltime as wt
    >>> answer = wt.search(wt.model("llama-2-7b"), wt.cluster("h100-sxm", 64), batch_seqs=512, seq_len=4096)
    >>> answer.recommended.plan.num_gpus
    64
    """
    if isinstance(model, str):
        model = _model(model)
    if isinstance(model, MlpStack):
        if not isinstance(cluster, Cluster):
            raise BadInput("cluster: the theory's models are searched on one cluster at a time.")
        if batch_seqs is not None or stack is not None or fix or least or most:
            raise BadInput("batch_seqs, stack and constraints are for real models; mlp-D has its own batch.")
        return _theory_plan(model, cluster, assumptions, space)
    if batch_seqs is None:
        raise BadInput("batch_seqs is not given. Valid: sequences in a step, for example batch_seqs=2048.")
    question = planner_question(
        Training(model, usual_seq_len(model) if seq_len is None else seq_len, batch_seqs),
        [cluster] if isinstance(cluster, Cluster) else list(cluster),
        stack,
        fix=fix,
        least=least,
        most=most,
        min_free_bytes=min_free_bytes,
        terms=terms,
        goal=goal,
        precisions=tuple(values_of("precision", precisions)),
        top=top,
        tokens=tokens,
        deadline_s=deadline_s,
    )
    found = recommend(question, progress)
    if not found:
        raise NegativeAnswer(no_plan_text(found))
    return found


def planner_question(
    training: Training,
    clusters: Sequence[Cluster],
    stack: str | Stack | None,
    *,
    fix: Mapping[str, Any] | None,
    least: Mapping[str, int] | None,
    most: Mapping[str, int] | None,
    min_free_bytes: float,
    terms: Terms,
    **others: Any,
) -> Question:
    """Return a question for the planner from what `search` takes; ``others`` are fields of `Question`."""
    for one in clusters:
        _check_cluster(one)
    if fix is not None and not isinstance(fix, Mapping):
        raise BadInput(f"fix={fix!r} must map fields of a plan to values. Valid: fix={{'tp': 8}}.")
    if not isinstance(terms, Terms):
        raise BadInput(f"terms={terms!r} must be wt.Terms. Valid: wt.Terms(owned=True), for example.")
    allowed = {name: values_of(name, value) for name, value in (fix or {}).items()}
    return Question(
        training=training,
        clusters=tuple(known_cluster(one) for one in clusters),
        stack=stack if isinstance(stack, Stack) else _stack(stack or usual_stack(clusters)),
        constraints=Constraints(allowed, least or {}, most or {}, min_free_bytes),
        terms=terms,
        **others,
    )


def _check_cluster(given: object) -> None:
    if not isinstance(given, Cluster):
        raise BadInput(f"cluster={given!r} is no cluster. Valid: wt.cluster('h100-sxm', 64), or several.")


def _theory_plan(model: MlpStack, cluster: Cluster, assumptions: str | Assumptions, space: str | None) -> MlpPlan:
    """Return the theory's fastest plan; where there is none, say why."""
    read, tried = reading(assumptions, space)
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
