"""Flags of ``walltime scale`` to a question about several sizes."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

from walltime import api
from walltime.cli.common import texts, typed
from walltime.cli.search_question import RANGE, Asked, search_question
from walltime.planner.scaling import MODES, ScaleQuestion, sequences_per_gpu
from walltime.planner.sizes import doublings
from walltime.problems import BadInput, unknown
from walltime.units import whole
from walltime.workload import Training

_MOST_IN_DOUBLING = 64
_BATCHES = ("batch", "batch_tokens", "batch_per_gpu")
_WEAK = "--batch-per-gpu N for weak scaling, a batch that grows with the cluster"


def scale_question(values: Mapping[str, Any]) -> Asked[ScaleQuestion]:
    """Return what flags ask about several sizes.

    Raises
    ------
    BadInput
        A flag's value is unknown or does not go with the others.
    """
    per_gpu, is_given = _batch_per_gpu(values), any(values.get(name) is not None for name in _BATCHES)
    for on in texts(values, "on"):
        _check_range(on)
    strong = is_given and per_gpu is None
    asked = search_question(values if strong else {**values, "batch": 1}, _between(values))
    question = asked.question
    if per_gpu is None and not is_given:
        seqs = api.usual_batch_seqs(question.training.seq_len)
        question = replace(question, training=replace(question.training, batch_seqs=seqs))
    notes = [*asked.notes, *([] if is_given else [_note(question.training, per_gpu)])]
    return Asked(asked.model, ScaleQuestion(question, per_gpu), notes)


def _note(training: Training, per_gpu: Fraction | None) -> str:
    """Say what is taken where no batch is given."""
    if per_gpu is not None:
        return "batch is not given: one sequence for each GPU and step (--batch-per-gpu)"
    return (
        f"batch is not given: {training.batch_tokens:,} tokens a step at every size, about as many as Llama 2 was "
        "trained with (--batch, --batch-tokens)"
    )


def _check_range(on: str) -> None:
    """Refuse what is meant as a range and is none: without a number, or with other than whole ones."""
    if ".." in on and not RANGE.fullmatch(on.strip()) and not api.is_path(on):
        raise BadInput(f"--on {on}: no range of whole numbers. Valid: --on 8..16384xh100-sxm.")


def _between(values: Mapping[str, Any]) -> partial[list[int]]:
    """Return what names the sizes of a range."""
    in_doubling = whole(typed(values, "per_doubling", int, 1), "per_doubling", _MOST_IN_DOUBLING)
    return partial(doublings, in_doubling=in_doubling)


def _batch_per_gpu(values: Mapping[str, Any]) -> Fraction | None:
    """Return the sequences of an accelerator in weak scaling, None for strong: the mode follows from the batch."""
    mode, per_gpu = values.get("mode"), values.get("batch_per_gpu")
    if mode is not None and mode not in MODES:
        raise unknown("mode", mode, MODES)
    strong = {name: values[name] for name in ("batch", "batch_tokens") if values.get(name) is not None}
    if per_gpu is not None and (strong or mode == "strong"):
        other = " and ".join(f"{name}={value}" for name, value in strong.items()) or "mode=strong"
        raise BadInput(f"batch_per_gpu={per_gpu} is weak scaling, {other} is strong. Valid: one of them.")
    if strong and mode == "weak":
        raise BadInput(
            f"mode=weak: {next(iter(strong))}={next(iter(strong.values()))} is strong scaling. Valid: {_WEAK}."
        )
    if mode == "weak" and per_gpu is None:
        return Fraction(1)
    return None if per_gpu is None else sequences_per_gpu(per_gpu)
