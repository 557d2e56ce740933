"""Flags to the training steps that ``walltime measure train`` runs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, get_type_hints

from walltime import api
from walltime.cli.common import texts, typed
from walltime.measure.ranks import Place
from walltime.measure.records import TrainRequest
from walltime.measure.training.checks import check_request
from walltime.plan import Plan
from walltime.problems import BadInput, unknown
from walltime.units import LARGEST_SIZE, format_count, shortened, whole, whole_in
from walltime.workload import Training, Transformer
from walltime.workload.catalog import transformer_from_dimensions

_DEGREES = ("tp", "cp", "pp", "ep", "vpp", "micro_batch", "shard")
_CHOICES = ("schedule", "sharding", "sequence_parallel", "reshard", "precision")
_TRUTHS = {"true": True, "false": False}
_KINDS = get_type_hints(Transformer)


@dataclass(frozen=True)
class Asked:
    """Steps to run; ``notes`` says what was decided on the way."""

    request: TrainRequest
    notes: list[str] = field(default_factory=list)


def asked_of(values: Mapping[str, Any], where: Place, device_kind: str) -> Asked:
    """Return the training steps that flags describe, all checked.

    Parameters
    ----------
    values
        Flags by name.
    where
        This process among those that were started, if any were.
    device_kind
        ``cuda`` or ``cpu``, which decides the usual precision.

    Raises
    ------
    BadInput
        A flag's value is unknown, does not go with the others, or is not run by PyTorch.
    """
    name = typed(values, "model", str)
    if api.is_theory(name):
        raise BadInput(f"model={name} is one of the theory's, which nobody trains. Valid: llama-3.2-1b, for example.")
    made, said = api.real_model(name)
    notes = list(said)
    model = _cut(made, values, notes)
    plan = _plan(values, where, device_kind)
    seq_len = _seq_len(values, model, notes)
    request = TrainRequest(
        Training(model, seq_len, _batch(values, plan, notes)),
        plan,
        num_warmup_steps=values["warmup"],
        num_steps=values["steps"],
        num_profiled_steps=values["profile_steps"],
        compiled=bool(values["compiled"]),
        seed=values["seed"],
        model_id=made.name,
    )
    check_request(request, None, device_kind)
    return Asked(request, notes)


def _cut(model: Transformer, values: Mapping[str, Any], notes: list[str]) -> Transformer:
    """Return the model with other dimensions, where they were asked for."""
    if (layers := typed(values, "layers", int)) is not None:
        model = _with_layers(model, whole(layers, "layers", model.num_layers))
    changed = dict(_setting(text) for text in texts(values, "set"))
    if changed:
        dimensions = {key: value for key, value in asdict(model).items() if key != "name"} | changed
        model = transformer_from_dimensions(model.name, dimensions, "--set")
    if layers is not None or changed:
        notes.append(f"{model.name} is cut down: {model.num_layers} layers of d_model={model.d_model}")
    return model


def _with_layers(model: Transformer, count: int) -> Transformer:
    """Return the model with fewer layers, about the same share of them sliding; dense ones come first."""
    sliding = round(model.num_sliding_layers * count / model.num_layers)
    dense = min(model.num_dense_layers, count - 1 if model.num_dense_layers < model.num_layers else count)
    window = model.sliding_window if sliding else 0
    return replace(model, num_layers=count, num_sliding_layers=sliding, sliding_window=window, num_dense_layers=dense)


def _setting(text: str) -> tuple[str, Any]:
    """Return a dimension and its value, of ``d_model=512``."""
    name, equals, value = (part.strip() for part in text.partition("="))
    name = name.removeprefix("model.")
    known = [each.name for each in fields(Transformer) if each.name != "name"]
    if name not in known:
        raise unknown("dimension in --set", name, known)
    if not equals or not value:
        raise BadInput(f"--set {shortened(text)} has no value. Valid: --set {name}=...")
    if _KINDS[name] is bool:
        if value.lower() not in _TRUTHS:
            raise BadInput(f"{name}={shortened(value)} in --set is neither true nor false.")
        return name, _TRUTHS[value.lower()]
    if _KINDS[name] is int:
        return name, 0 if value == "0" else whole_in(value, name, LARGEST_SIZE)
    return name, value


def _plan(values: Mapping[str, Any], where: Place, device_kind: str) -> Plan:
    given = [name for name in _DEGREES if values.get(name) is not None]
    degrees: dict[str, Any] = {name: whole_in(str(values[name]), name) for name in given}
    inner = degrees.get("tp", 1) * degrees.get("cp", 1) * degrees.get("pp", 1)
    choices: dict[str, Any] = {
        "sharding": "zero3",
        "precision": "bf16" if device_kind == "cuda" else "fp32",
        "reshard": degrees.get("pp", 1) == 1,
    }
    choices |= {name: values[name] for name in _CHOICES if values.get(name) is not None}
    return Plan(**degrees, dp=_dp(values, where, inner), **choices, **_recompute(values))


def _dp(values: Mapping[str, Any], where: Place, inner: int) -> int:
    """Return the data parallelism: as asked, or what the processes leave."""
    if values.get("dp") is not None:
        return whole_in(str(values["dp"]), "dp")
    processes = where.num_ranks if where.num_ranks > 1 else values.get("nproc") or inner
    if processes % inner:
        raise BadInput(f"tp x cp x pp={inner} does not divide the {processes} processes. Valid: a multiple of {inner}.")
    return int(processes // inner)


def _recompute(values: Mapping[str, Any]) -> dict[str, Any]:
    kind, share = values.get("recompute") or "none", typed(values, "recompute_layers", float)
    if share is None:
        return {"recompute": kind}
    if kind != "full":
        raise BadInput(f"recompute_layers={share:g} needs recompute=full, not {kind}. Valid: --recompute full.")
    return {"recompute": kind, "recompute_layers": share}


def _seq_len(values: Mapping[str, Any], model: Transformer, notes: list[str]) -> int:
    given = typed(values, "seq_len", int)
    if given is not None:
        return whole(given, "seq_len", LARGEST_SIZE)
    usual = api.usual_seq_len(model)
    notes.append(f"seq_len is not given: sequences of {format_count(usual)} tokens")
    return usual


def _batch(values: Mapping[str, Any], plan: Plan, notes: list[str]) -> int:
    given = typed(values, "batch", int)
    if given is not None:
        return whole(given, "batch", LARGEST_SIZE)
    least = plan.dp * plan.micro_batch * plan.pp
    shown = f"{format_count(least)} sequence{'s' if least > 1 else ''}"
    notes.append(f"batch is not given: {shown} a step, the fewest that fill the plan")
    return least
