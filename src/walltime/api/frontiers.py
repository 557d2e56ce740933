"""How far training can scale."""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor

from walltime.api.names import reading
from walltime.engines import Assumptions
from walltime.hardware import Cluster
from walltime.limits import Frontier, FrontierQuestion, RunFamily, frontier
from walltime.limits.scaling_laws import constants


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
    >>> import walltime as wt
    >>> curve = wt.limits(wt.cluster("h100-sxm"))
    >>> f"{curve.linear_scaling_end().first_crossing_flop:.2e}"
    '2.05e+28'
    """
    read, tried = reading(assumptions, space)
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
