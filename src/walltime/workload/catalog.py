"""Models by name from the catalog, or from a TOML file of the same shape."""

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_args

import msgspec

from walltime.catalog import DATASHEET, ModelRecord, parameter_set, read_toml
from walltime.problems import BadInput, unknown
from walltime.units import LARGEST_SIZE, shortened
from walltime.workload.transformer import Norm, Position, Transformer

_FIELDS = {field.name: field for field in fields(Transformer) if field.name != "name"}
_REQUIRED = [name for name, field in _FIELDS.items() if field.default is MISSING]
_CHOICES = {"norm": get_args(Norm), "position": get_args(Position)}
_NEEDS = {
    "kv_lora_rank": "qk_rope_head_dim",
    "top_k": "num_experts",
    "num_shared_experts": "num_experts",
    "sliding_window": "num_sliding_layers",
}
"""Dimensions that mean nothing without another one."""
_FILE_KEYS = {field.name for field in msgspec.structs.fields(ModelRecord)}


def transformer(name: str) -> Transformer:
    """Return a model of the catalog, by its id, an alias (its Hugging Face repository, say) or its full name.

    Raises
    ------
    BadInput
        There is none; the message has the nearest name.

    Examples
    --------
    >>> transformer("llama-2-7b").num_layers
    32
    """
    record = parameter_set(DATASHEET).get(ModelRecord, name)
    return transformer_from_dimensions(record.id, record.dimensions, f"{record.id}.toml")


def transformer_from_file(path: Path) -> Transformer:
    """Return the model of a TOML file.

    Needed are ``name`` and a table ``[dimensions]`` with fields of `Transformer`; the other keys of a catalog file
    (``id``, ``aliases``, ``source``, ...) may stand there too.

    Raises
    ------
    BadInput
        A key is unknown or missing, or a value has the wrong type; the message names field, value and near match.
    """
    raw = read_toml(path)
    for key in raw:
        if key not in _FILE_KEYS:
            hint = " Is it meant for the table [dimensions]?" if key in _FIELDS else ""
            raise BadInput(f"{path.name}: {unknown('key', key, _FILE_KEYS)}{hint}")
    name, dimensions = raw.get("name", raw.get("id")), raw.get("dimensions")
    if name is None:
        raise BadInput(f'{path.name}: the key name is missing: what the model is called. Valid: name = "{path.stem}".')
    if not (isinstance(name, str) and name):
        raise BadInput(f"{path.name}: name={shortened(name)} must be text: what the model is called.")
    if not isinstance(dimensions, dict):
        raise BadInput(f"{path.name}: the table [dimensions] is missing. Needed in it: {', '.join(_REQUIRED)}.")
    return transformer_from_dimensions(name, dimensions, path.name)


def transformer_from_dimensions(name: str, dimensions: dict[str, Any], where: str) -> Transformer:
    """Return a model from a table of its fields.

    Parameters
    ----------
    name
        What the model is called.
    dimensions
        Fields of `Transformer` without ``name``; those with a default may be left out.
    where
        What a message calls the place that they were read from.
    """
    for field, value in dimensions.items():
        _check(field, value, where)
    missing = [field for field in _REQUIRED if field not in dimensions]
    if missing:
        raise BadInput(f"{where}: missing in [dimensions]: {', '.join(missing)}.")
    for field, needed in _NEEDS.items():
        if dimensions.get(field) and not dimensions.get(needed):
            raise BadInput(f"{where}: {field}={dimensions[field]} needs {needed}, which is missing in [dimensions].")
    try:
        return Transformer(name, **dimensions)
    except BadInput as problem:
        raise BadInput(f"{where}: {problem}") from None


def _check(field: str, value: object, where: str) -> None:
    """Refuse an unknown field or a value of the wrong type."""
    if field not in _FIELDS:
        raise BadInput(f"{where}: {unknown('field', field, _FIELDS)}")
    if field in _CHOICES:
        if value not in _CHOICES[field]:
            raise BadInput(f"{where}: {unknown(field, value, _CHOICES[field])}")
    elif isinstance(_FIELDS[field].default, bool):
        if not isinstance(value, bool):
            raise BadInput(f"{where}: {field}={shortened(value)} must be true or false.")
    elif isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_SIZE:
        raise BadInput(f"{where}: {field}={shortened(value)} must be a whole number from 0 to {LARGEST_SIZE:,}.")
