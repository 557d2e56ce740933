"""The best plan at every size of a cluster, and what each added accelerator returns."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from walltime.api.names import model as _model
from walltime.api.names import usual_batch_seqs, usual_seq_len
from walltime.api.plans import planner_question
from walltime.economics.terms import USUAL_TERMS, Terms
from walltime.engines.stack import Stack
from walltime.hardware import Cluster
from walltime.plan import Precision
from walltime.planner.scaling import ScaleQuestion, Scaling, require_possible, sequences_per_gpu
from walltime.planner.scaling import scale as _scale
from walltime.problems import BadInput
from walltime.search.constraints import values_of
from walltime.units import LARGEST_SIZE, whole
from walltime.workload import Training, Transformer


def scale(
    model: Transformer | str,
    cluster: Cluster | Sequence[Cluster],
    sizes: Iterable[int] | None = None,
    *,
    batch_seqs: int | None = None,
    batch_per_gpu: int | float | str | Fraction | None = None,
    seq_len: int | None = None,
    stack: str | Stack | None = None,
    precisions: Precision | Sequence[Precision] = (),
    fix: Mapping[str, Any] | None = None,
    least: Mapping[str, int] | None = None,
    most: Mapping[str, int] | None = None,
    min_free_bytes: float = 0.0,
    terms: Terms = USUAL_TERMS,
    progress: Callable[[int, int], None] | None = None,
) -> Scaling:
    """Return the fastest plan at every size of a cluster, what it gives and costs, and what each added GPU returns.

    Parameters
    ----------
    model
        A real model, or its name.
    cluster, sizes
        One or several kinds of cluster, each at all of the numbers of accelerators ``sizes``; without them, clusters
        with numbers of their own.
    batch_seqs
        Strong scaling: sequences in a step, at every size. Where neither batch is given, about 4M tokens a step
        (``USUAL_BATCH_TOKENS``), as Llama 2 was trained with.
    batch_per_gpu
        Weak scaling: sequences of an accelerator in a step: 2, 0.125 or "1/8".
    seq_len, stack, precisions, fix, least, most, min_free_bytes, terms
        As for `search`.
    progress
        Called with sizes searched and sizes in all.

    Raises
    ------
    BadInput
        Both batches, or sizes that are not whole numbers.
    NegativeAnswer
        No size has a plan.

    Examples
    --------
    >>> import walltime as wt
    >>> found = wt.scale("llama-2-7b", wt.cluster("h100-sxm"), [8, 16, 32], batch_per_gpu=2, stack="fsdp1")
    >>> [row["num_gpus"] for row in found.to_rows()]
    [8, 16, 32]
    """
    made = _model(model) if isinstance(model, str) else model
    if not isinstance(made, Transformer):
        raise BadInput(f"model={model!r} is no real model. Valid: llama-3.1-405b.")
    per_gpu = _batch_per_gpu(batch_seqs, batch_per_gpu)
    tokens = usual_seq_len(made) if seq_len is None else whole(seq_len, "seq_len", LARGEST_SIZE)
    seqs = batch_seqs if batch_seqs is not None else 1 if per_gpu is not None else usual_batch_seqs(tokens)
    question = planner_question(
        Training(made, tokens, seqs),
        _at_sizes(cluster, sizes),
        stack,
        fix=fix,
        least=least,
        most=most,
        min_free_bytes=min_free_bytes,
        terms=terms,
        precisions=tuple(values_of("precision", precisions)),
    )
    found = _scale(ScaleQuestion(question, per_gpu), progress)
    require_possible(found)
    return found


def _batch_per_gpu(batch_seqs: object, batch_per_gpu: object) -> Fraction | None:
    if batch_seqs is not None and batch_per_gpu is not None:
        raise BadInput(
            f"batch_seqs and batch_per_gpu: {batch_seqs} and {batch_per_gpu} are both given. Valid: batch_seqs=2048 "
            "for strong scaling, batch_per_gpu=2 for weak scaling."
        )
    return None if batch_per_gpu is None else sequences_per_gpu(batch_per_gpu)


def _at_sizes(cluster: object, sizes: object) -> list[Cluster]:
    """Return every cluster at every size."""
    given = list(cluster) if isinstance(cluster, Iterable) else [cluster]
    clusters = [one for one in given if isinstance(one, Cluster)]
    if len(clusters) < len(given) or not given:
        raise BadInput(f"cluster={cluster!r} is no cluster. Valid: wt.cluster('h100-sxm'), or several.")
    if sizes is None and all(one.num_gpus for one in clusters):
        return clusters
    if not isinstance(sizes, Iterable) or isinstance(sizes, str):
        raise BadInput(f"sizes={sizes!r} must list numbers of accelerators. Valid: [8, 16, 32].")
    counts = [whole(count, "number of accelerators") for count in sizes]
    if not counts:
        raise BadInput("sizes is empty. Valid: numbers of accelerators, [8, 16, 32].")
    return [one.with_num_gpus(count) for one in clusters for count in counts]
