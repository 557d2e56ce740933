"""What ``walltime show`` says of the transformer engine: models, software stacks, and every fitted number."""

from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import msgspec

from walltime import api
from walltime.catalog import DATASHEET, ModelRecord, parameter_set
from walltime.catalog.calibrations import CALIBRATION, calibrations
from walltime.catalog.fitted import (
    FittedBlock,
    fitted_ids,
    kernels_record,
    links_record,
    memory_record,
    training_record,
)
from walltime.catalog.stacks import StackRecord, stack_ids, stack_record
from walltime.engines.capabilities import ORDERS, Capabilities
from walltime.engines.stack import stack
from walltime.interop.huggingface import Imported, is_config, read_config
from walltime.units import shortened
from walltime.workload import Transformer
from walltime.workload.catalog import transformer
from walltime.workload.parameters import num_active_parameters, num_parameters

Row = dict[str, Any]
Blocks = dict[str, FittedBlock]


def model_rows() -> list[Row]:
    """Every model, with its size."""
    rows = []
    for record in parameter_set(DATASHEET).all(ModelRecord):
        model = transformer(record.id)
        rows.append(
            {
                "id": record.id,
                "name": record.name,
                "num_parameters": num_parameters(model, with_mtp=False),
                "num_active_parameters": num_active_parameters(model, with_mtp=False),
                "num_layers": model.num_layers,
                "d_model": model.d_model,
                "num_experts": model.num_experts or "",
                "num_positions": model.num_positions or "",
                "aliases": ", ".join(record.aliases),
            }
        )
    return rows


def stack_rows() -> list[Row]:
    """Every software stack."""
    records = [stack_record(name) for name in stack_ids()]
    return [{"id": record.id, "name": record.name, "aliases": ", ".join(record.aliases)} for record in records]


def fitted_rows(kind: str) -> list[Row]:
    """Every fitted record of a kind: how many of its blocks are fitted, on how many rows, and how well."""
    return [
        {
            "id": name,
            "fitted": sum(block.kind == "fitted" for block in blocks.values()),
            "estimated": sum(block.kind == "estimate" for block in blocks.values()),
            "rows": sum(block.rows for block in blocks.values()),
            "median_error": _errors(blocks),
        }
        for name, blocks in _FITTED[kind]().items()
    ]


def _errors(blocks: Blocks) -> str:
    """Return the span of the blocks' median errors."""
    errors = [block.median_error for block in blocks.values() if block.median_error is not None]
    ends = dict.fromkeys(f"{error:.1%}" for error in (min(errors), max(errors))) if errors else {}
    return " to ".join(ends)


def _kernels() -> dict[str, Blocks]:
    found = {}
    for chip in (*fitted_ids("kernels"), *(own.id for own in calibrations())):
        record = kernels_record(chip)
        blocks = {f"matmul.{name}": block for name, block in record.matmul.items()}
        for name, kernel in record.attention.items():
            blocks |= {f"attention.{name}.forward": kernel.forward, f"attention.{name}.backward": kernel.backward}
        found[chip] = blocks
    return found


def _links() -> dict[str, Blocks]:
    names = (*fitted_ids("links"), *(own.id for own in calibrations()))
    return {name: {block.name: block for block in links_record(name).level} for name in names}


def _training() -> dict[str, Blocks]:
    record = training_record()
    found: dict[str, Blocks] = {}
    for kind, blocks in (("accelerator", record.accelerator), ("stack", record.stack)):
        for name, block in blocks.items():
            found.setdefault(name, {})[kind] = block
    for own in calibrations():
        chip = {} if own.chip is None else {"accelerator": own.chip}
        found[own.id] = chip | {f"stack.{name}": block for name, block in own.stack.items()}
    return {name: blocks for name, blocks in found.items() if blocks}


def _memory() -> dict[str, Blocks]:
    return {name: {"stack": block} for name, block in memory_record().stack.items()}


_FITTED: dict[str, Callable[[], dict[str, Blocks]]] = {
    "kernels": _kernels,
    "links": _links,
    "training": _training,
    "memory": _memory,
}
FITTED_KINDS = tuple(_FITTED)
"""Kinds of fitted numbers: kernels and links by themselves, whole training steps, memory."""


def details(kind: str, label: str) -> list[Row]:
    """Return every number of the record of this name with its provenance; none if there is no such record."""
    if kind == "models":
        record = parameter_set(DATASHEET).find(ModelRecord, label)
        return list(_model_details(record)) if record else []
    if kind == "stacks":
        wanted = label.strip().lower()
        named = [stack_record(name) for name in stack_ids()]
        return [row for one in named if wanted in _labels(one) for row in _stack_details(one)]
    found = {name.lower(): blocks for name, blocks in _FITTED[kind]().items()}
    blocks = found.get(label.strip().lower(), {})
    rows = [_plain("id", label.strip().lower(), kind)] if blocks else []
    rows += [row for part, block in blocks.items() for row in _block_details(kind, part, block)]
    is_own = any(own.id.lower() == label.strip().lower() for own in calibrations())
    return [row | {"parameters": CALIBRATION} for row in rows] if is_own else rows


def _labels(record: StackRecord) -> list[str]:
    return [label.lower() for label in (record.id, record.name, *record.aliases)]


def _plain(number: str, value: object, of: str, **provenance: str) -> Row:
    return {"number": number, "value": value, "of": of, "parameters": DATASHEET} | provenance


def _model_details(record: ModelRecord) -> Iterator[Row]:
    model = transformer(record.id)
    counted = {"kind": "derived", "note": "Counted from the dimensions."}
    published = record.published_parameters
    yield _plain("id", record.id, "models")
    yield _plain("name", record.name, "models")
    for name, count in (("num_parameters", num_parameters), ("num_active_parameters", num_active_parameters)):
        yield _plain(name, f"{count(model, with_mtp=False):,}", "models", **counted)
    said = {"kind": published.kind, "source": published.source, "locator": published.locator, "note": published.note}
    yield _plain("published_parameters", f"{published.value:,.0f}", "models", **said)
    for name, value in record.dimensions.items():
        yield _plain(name, value, "models", source=record.source, locator=record.locator)
    if record.notes:
        yield _plain("notes", record.notes, "models")


def file_details(name: str) -> tuple[list[Row], list[str]]:
    """Return what a model file holds, as `details` does of the catalog, and what to mind about it."""
    path = Path(name)
    if not is_config(path):
        made, _ = api.real_model(name)
        return [row | {"parameters": name} for row in _file_details(made)], []
    imported = read_config(path)
    rows = [*_file_details(imported.model), *_key_details(imported)]
    return [row | {"parameters": name} for row in rows], list(imported.notes)


def _file_details(model: Transformer) -> Iterator[Row]:
    """Yield the counts, the catalog's models of the same dimensions, and every dimension that is not usual."""
    without = " without the multi-token-prediction layers" if model.num_mtp_layers else ""
    counted = {"kind": "derived", "note": f"Counted from the dimensions{without}."}
    yield _plain("id", model.name, "models")
    for name, count in (("num_parameters", num_parameters), ("num_active_parameters", num_active_parameters)):
        yield _plain(name, f"{count(model, with_mtp=False):,}", "models", **counted)
    ids = [record.id for record in parameter_set(DATASHEET).all(ModelRecord)]
    same = [name for name in ids if replace(transformer(name), name=model.name) == model]
    yield _plain("same_dimensions_as", ", ".join(same) or "no model of the catalog", "models")
    for field in fields(model):
        value = getattr(model, field.name)
        if field.name != "name" and (field.default is MISSING or value != field.default):
            yield _plain(field.name, value, "models")


def _key_details(imported: Imported) -> Iterator[Row]:
    """Yield the keys of a config.json: what was read, what was taken for absent ones, and what was not needed."""
    yield _plain("config.model_type", imported.model_type, "models")
    for key, value in imported.used.items():
        yield _plain(f"config.{key}", value if isinstance(value, str | int) else shortened(value), "models")
    for key, value in imported.assumed.items():
        origin = {"kind": "default", "source": "huggingface2026transformers", "locator": imported.model_type}
        yield _plain(f"config.{key}", value, "models", **origin)
    yield _plain("config keys without effect", ", ".join(imported.ignored), "models")


def _stack_details(record: StackRecord) -> Iterator[Row]:
    for name, value in msgspec.to_builtins(record).items():
        if name not in ("schema", "sources", "aliases", "runs") and value != "":
            yield _plain(name, value, "stacks")
    for field in fields(Capabilities):
        yield _plain(f"runs.{field.name}", _spoken(getattr(stack(record.id).runs, field.name)), "stacks")
    for place, citation in enumerate(record.sources):
        origin = {"kind": "paper", "source": citation.source, "locator": citation.locator}
        yield _plain(f"sources.{place}", citation.note, "stacks", **origin)


def _spoken(value: object) -> object:
    """Return a tuple of choices in words; orders of the network are lists themselves."""
    if not isinstance(value, tuple):
        return value
    if value == ORDERS:
        return "any"
    orders = [",".join(item) for item in value if isinstance(item, tuple)]
    return " or ".join(orders) or ", ".join(str(item) for item in value) or "none"


def _block_details(kind: str, part: str, block: FittedBlock) -> Iterator[Row]:
    """Yield a row for the block, then one a number: estimated where the measured rows do not decide it."""
    said = [f"{block.rows:,} rows"] if block.rows else []
    for name in ("median_error", "p90_error", "held_out_median_error", "held_out_p90_error"):
        error = getattr(block, name)
        said += [f"{name.replace('_', ' ')} {error:.1%}"] if error is not None else []
    origin = {"kind": block.kind, "source": block.source, "locator": block.locator, "note": block.note}
    yield _plain(part, ", ".join(said) or "no rows", kind, **origin)
    for name, value in block.values.items():
        span = f"{block.low[name]:.4g} to {block.high[name]:.4g}" if name in block.low else ""
        how = "estimate" if block.kind == "estimate" or name in block.estimated else "fitted"
        yield _plain(f"{part}.{name}", f"{value:.7g}", kind, kind=how, source=block.source, range=span)


def names(kind: str) -> list[str]:
    """Return every name that `details` finds in a kind."""
    if kind == "models":
        return list(parameter_set(DATASHEET).names(ModelRecord))
    if kind == "stacks":
        records = [stack_record(name) for name in stack_ids()]
        return [label for one in records for label in (one.id, one.name, *one.aliases)]
    return list(_FITTED[kind]())
