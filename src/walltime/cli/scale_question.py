"""Flags of ``walltime scale`` to a question about several sizes."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from walltime.api import is_path
from walltime.cli.common import texts, typed
from walltime.cli.search_question import RANGE, search_question
from walltime.planner.scaling import MODES, ScaleQuestion, sequences_per_gpu
from walltime.planner.sizes import doublings
from walltime.problems import BadInput, unknown
from walltime.units import whole

_MOST_IN_DOUBLING = 64
_STRONG = "--batch N or --batch-tokens N for strong scaling, the same batch at every size"
_WEAK = "--batch-per-gpu N for weak scaling, a batch that grows with the cluster"


@dataclass(frozen=True)
class AskedScale:
    """A question as it was asked.

    Attributes
    ----------
    model
        The name or path of the model.
    question
        For the planner.
    notes
        What was decided on the way.
    """

    model: str
    question: ScaleQuestion
    notes: list[str]


def scale_question(values: Mapping[str, Any]) -> AskedScale:
    """Return what flags ask about several sizes.

    Raises
    ------
    BadInput
        A flag's value is unknown or does not go with the others.
    """
    per_gpu = _batch_per_gpu(values)
    for on in texts(values, "on"):
        _check_range(on)
    asked = search_question({**values, "batch": values["batch"] if per_gpu is None else 1}, _between(values))
    return AskedScale(asked.model, ScaleQuestion(asked.question, per_gpu), asked.notes)


def _check_range(on: str) -> None:
    """Refuse what is meant as a range and is none: without a number, or with other than whole ones."""
    if ".." in on and not RANGE.fullmatch(on.strip()) and not is_path(on):
        raise BadInput(f"--on {on}: no range of whole numbers. Valid: --on 8..16384xh100-sxm.")


def _between(values: Mapping[str, Any]) -> partial[list[int]]:
    """Return what names the sizes of a range."""
    in_doubling = whole(typed(values, "per_doubling", int, 1), "per_doubling", _MOST_IN_DOUBLING)
    return partial(doublings, in_doubling=in_doubling)


def _batch_per_gpu(values: Mapping[str, Any]) -> Any:
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
    if not strong and per_gpu is None:
        valid = {"weak": _WEAK, "strong": _STRONG}.get(mode or "", f"{_STRONG}; or {_WEAK}")
        raise BadInput(f"batch is not given. Valid: {valid}.")
    return None if per_gpu is None else sequences_per_gpu(per_gpu)
