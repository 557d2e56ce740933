"""What a row of ``walltime measure train`` says beyond the columns of every measured row.

Its columns are numbers and names of fixed meaning, never words for the rules of `walltime.validate.notes` to read.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from walltime.problems import BadInput
from walltime.units import shortened
from walltime.workload import Transformer
from walltime.workload.catalog import transformer_from_dimensions

HARNESS_COLUMNS = (
    "step_time_mean_s",
    "step_time_std_s",
    "step_time_p10_s",
    "step_time_p90_s",
    "num_steps",
    "num_warmup_steps",
    "profiled_step_s",
    "compute_s",
    "communication_s",
    "exposed_communication_s",
    "idle_s",
    "energy_per_step_j",
    "allocated_bytes",
    "reserved_bytes",
    "resident_bytes",
    "weights_bytes",
    "gradients_bytes",
    "optimizer_bytes",
    "loss_first",
    "loss_last",
    "seed",
    "torch_compile",
    "attention",
    "schedule",
    "reshard",
    "shard",
    "recompute_layers",
    "model_dimensions",
    "environment_id",
    "date",
)
"""In this order, after those of `walltime.validate.measured`; an empty cell was not measured."""


_TRUTHS = {"true": True, "false": False}


def model_dimensions(model: Transformer) -> str:
    """Return a model's dimensions for the column of this name: a JSON object of those that are not the usual ones."""
    values = {field.name: getattr(model, field.name) for field in fields(model) if field.name != "name"}
    usual = {field.name: field.default for field in fields(model)}
    return json.dumps({name: value for name, value in values.items() if value != usual[name]}, separators=(",", ":"))


def harness_choices(recompute: str, other: Mapping[str, str]) -> dict[str, Any]:
    """Return the choices of a row's plan that the harness has columns for, by field of `walltime.plan.Plan`.

    Parameters
    ----------
    recompute
        The row's recomputation.
    other
        The row's columns that are not those of every measured row.

    Raises
    ------
    BadInput
        A cell holds no such choice.
    """
    found: dict[str, Any] = {}
    if reshard := other.get("reshard", "").lower():
        if reshard not in _TRUTHS:
            raise BadInput(f"reshard={reshard!r} is neither true nor false.")
        found["reshard"] = _TRUTHS[reshard]
    if schedule := other.get("schedule", ""):
        found["schedule"] = schedule
    share = other.get("recompute_layers", "")
    if share and recompute in ("full", "selective"):
        found |= {"recompute": "full", "recompute_layers": _share(share)}
    return found


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise BadInput(f"recompute_layers={shortened(text)} must be between 0 and 1.")
    return share


def harness_model(name: str, other: Mapping[str, str]) -> Transformer | None:
    """Return the model that a row's ``model_dimensions`` describe, exactly; None where it has no such column.

    Parameters
    ----------
    name
        What the row calls the model.
    other
        The row's columns that are not those of every measured row.

    Raises
    ------
    BadInput
        The cell does not hold dimensions.
    """
    text = other.get("model_dimensions", "")
    if not text:
        return None
    try:
        dimensions: Any = json.loads(text)
    except ValueError:
        dimensions = None
    if not isinstance(dimensions, dict):
        dimensions = {}
    return transformer_from_dimensions(name, dimensions, "model_dimensions")
