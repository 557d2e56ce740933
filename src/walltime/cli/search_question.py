"""Flags of ``walltime search`` and ``walltime scale`` to a question for the planner."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from walltime import api
from walltime.cli.common import texts, typed
from walltime.cli.question import given_batch, real_cluster, seq_len_of, software_of
from walltime.cli.search_options import NUMBERS
from walltime.cli.terms import terms_of
from walltime.hardware import Cluster
from walltime.plan import Plan
from walltime.planner import GOALS, Question
from walltime.planner.sizes import sizes
from walltime.problems import BadInput, unknown
from walltime.search.constraints import ALL_RANKS, DEGREES, FIELDS, INNER_DEGREES, Constraints
from walltime.units import LARGEST_COUNT, LARGEST_SIZE, format_count, parse_quantity, whole, whole_in
from walltime.workload import Training

RANGE = re.compile(r"([\d_,]+)\s*\.\.\s*([\d_,]+)\s*x\s*(.+)")
"""Numbers of accelerators: ``256..4096xh100-sxm``."""
Between = Callable[[int, int, Cluster], list[int]]
_YES_NO = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


Q = TypeVar("Q")


@dataclass(frozen=True)
class Asked(Generic[Q]):
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
    question: Q
    notes: list[str] = field(default_factory=list)


def real_name(model: str | None, example: str) -> str:
    """Return the name of a real model, or say which there are, with an example of the command."""
    if not model:
        raise BadInput(
            "no model is named. Valid: a name (llama-3.1-405b, see walltime show models), a config.json or a TOML "
            f"file; for example {example}."
        )
    if api.is_theory(model):
        raise BadInput(f"model={model} is one of the theory's: walltime estimate {model} --on ... finds its best plan.")
    return model


def search_question(values: Mapping[str, Any], between: Between = sizes) -> Asked[Question]:
    """Return what flags ask of the planner.

    Parameters
    ----------
    values
        By the flags' names.
    between
        Returns the numbers of accelerators of a range, from its first, last and cluster.

    Raises
    ------
    BadInput
        A flag's value is unknown or does not go with the others.
    """
    name = typed(values, "model", str)
    made, said = api.real_model(name)
    notes = list(said)
    seq_len = seq_len_of(values, made, notes)
    clusters = tuple(cluster for on in texts(values, "on") for cluster in _clusters(on, values, notes, between))
    goal: Any = typed(values, "goal", str, "time")
    if goal not in GOALS:
        raise unknown("goal", goal, GOALS)
    tokens, deadline = values.get("tokens"), values.get("deadline")
    question = Question(
        training=Training(made, seq_len, _batch_seqs(values, seq_len, notes)),
        clusters=clusters,
        stack=software_of(values, clusters),
        goal=goal,
        constraints=_constraints(values),
        precisions=_precisions(values),
        top=whole(typed(values, "top", int, Question.top), "top", LARGEST_SIZE),
        tokens=None if tokens is None else parse_quantity(str(tokens), "tokens", "tokens"),
        deadline_s=None if deadline is None else parse_quantity(str(deadline), "seconds", "deadline"),
        terms=terms_of(values, clusters),
    )
    return Asked(name, question, notes)


def _precisions(values: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(_words(values.get("precision"))))


# Clusters


def _clusters(on: str, values: Mapping[str, Any], notes: list[str], between: Between) -> Iterator[Cluster]:
    """Yield the clusters of one ``--on``: a number of accelerators, or a range of numbers."""
    match = RANGE.fullmatch(on.strip())
    if not match:
        yield real_cluster({**values, "on": on}, notes)
        return
    ends = (re.sub("[,_]", "", text) for text in match.groups()[:2])
    first, last = (whole_in(end, "number of accelerators", LARGEST_COUNT) for end in ends)
    if first > last:
        raise BadInput(f"--on {on}: {first} is more than {last}. Valid: --on {last}..{first}x{match[3]}.")
    cluster = real_cluster({**values, "on": f"{first}x{match[3]}"}, notes)
    for count in between(first, last, cluster):
        yield cluster.with_num_gpus(count)


# The batch


def _batch_seqs(values: Mapping[str, Any], seq_len: int, notes: list[str]) -> int:
    """Return the sequences of a step; tokens are rounded to a number of sequences that many degrees divide."""
    if (given := given_batch(values)) is not None:
        return given
    tokens = values["batch_tokens"]
    wanted_tokens = parse_quantity(str(tokens), "tokens", "batch_tokens")
    wanted = wanted_tokens / seq_len
    if not 1 <= wanted <= LARGEST_SIZE:
        raise BadInput(f"batch_tokens={tokens} must be between one sequence, {seq_len}, and {LARGEST_SIZE:,}.")
    seqs = api.seqs_of_tokens(wanted_tokens, seq_len)
    if seqs != wanted:
        notes.append(
            f"batch_tokens={tokens} is taken as {format_count(seqs)} sequences, {seqs * seq_len:,} tokens: "
            "many degrees of parallelism divide that"
        )
    return seqs


# Constraints


def _constraints(values: Mapping[str, Any]) -> Constraints:
    allowed: dict[str, tuple[Any, ...]] = {}
    for name in NUMBERS:
        if values.get(name) is not None:
            allowed[name] = tuple(whole_in(part, name) for part in _words(values[name]))
    for text in texts(values, "fix"):
        name, separator, given = text.partition("=")
        if not separator:
            raise BadInput(f"fix={text!r} is not field=value. Valid: for example sharding=zero3.")
        name = name.strip().replace("-", "_")
        if name == "precision":
            raise BadInput(f"fix={text}: number formats have a flag of their own. Valid: --precision {given}.")
        if name not in FIELDS:
            raise unknown("field in --fix", name, FIELDS)
        if name in allowed:
            raise BadInput(f"fix={text}: {name} is fixed already.")
        allowed[name] = _values(name, given)
    bounds: dict[str, dict[str, int]] = {
        kind: {
            name: whole(value, f"{kind}_{name}", LARGEST_SIZE)
            for name in NUMBERS
            if (value := values.get(f"{kind}_{name}")) is not None
        }
        for kind in ("min", "max")
    }
    free = values.get("min_free_memory")
    free_bytes = 0.0 if free is None else parse_quantity(str(free), "bytes", "min_free_memory")
    return Constraints(allowed, bounds["min"], bounds["max"], free_bytes)


def _values(name: str, given: str) -> tuple[Any, ...]:
    """Return the values that a field may have; an order is one value."""
    if name == "order":
        return (tuple(part.strip() for part in given.split(",")),)
    return tuple(_value(name, part) for part in _words(given))


def _value(name: str, text: str) -> Any:
    if name == "shard" and text == ALL_RANKS:
        return 0
    if name in (*DEGREES, *INNER_DEGREES) and name != "recompute_layers":
        return whole_in(text, name)
    if isinstance(getattr(Plan(), name), bool):
        if text.lower() not in _YES_NO:
            raise BadInput(f"{name}={text} must be true or false.")
        return _YES_NO[text.lower()]
    if name == "recompute_layers":
        try:
            return float(text)
        except ValueError:
            raise BadInput(f"recompute_layers={text} must be a number between 0 and 1.") from None
    return text


def _words(given: Any) -> list[str]:
    return [part.strip() for part in str(given).split(",")] if given is not None else []
