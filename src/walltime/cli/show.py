"""``walltime show``: what is in the catalog, and says who?"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from walltime import api
from walltime.catalog import (
    DATASHEET,
    AcceleratorRecord,
    ClusterRecord,
    EfficiencyRecord,
    NetworkRecord,
    Number,
    parameter_set,
    parameter_sets,
    sources,
)
from walltime.catalog.calibrations import CALIBRATION, calibrated
from walltime.catalog.failures import FailuresRecord, failures_record
from walltime.catalog.ownership import ownership_record
from walltime.catalog.power import power_record
from walltime.catalog.prices import prices_record
from walltime.catalog.schema import PowerRecord
from walltime.cli import show_engine
from walltime.cli.common import emit_json, json_option
from walltime.cli.show_calibrations import calibration_details, calibration_rows
from walltime.engines import FIXES, Assumptions
from walltime.limits.scaling_laws import BATCH_LAWS, DATA_LAWS, DEPTH_LAWS, SPARSITY_LAWS
from walltime.plan import SCHEDULES
from walltime.problems import unknown
from walltime.report.terminal import table

Row = dict[str, Any]
_RECORDS: dict[str, Any] = {
    "accelerators": AcceleratorRecord,
    "efficiencies": EfficiencyRecord,
    "networks": NetworkRecord,
    "clusters": ClusterRecord,
}
_OF_THE_ENGINE = ("models", "stacks", *show_engine.FITTED_KINDS)


def _record_rows(kind: str) -> list[Row]:
    rows = []
    for name, record in _records(kind, parameter_sets()):
        label = getattr(record, "id", None) or record.accelerator
        aliases = ", ".join(getattr(record, "aliases", []))
        rows.append({"id": label, "parameters": name, "name": getattr(record, "name", ""), "aliases": aliases})
    return rows


def _records(kind: str, sets: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Yield every record of a kind with whose numbers it has; calibrations stand beside the datasheets."""
    for name in sets:
        numbers = parameter_set(name)
        yield from ((numbers.name, record) for record in numbers.all(_RECORDS[kind]))
        if numbers.name == DATASHEET:
            yield from ((CALIBRATION, record) for record in calibrated(_RECORDS[kind]))


def _constant_rows() -> list[Row]:
    rows = []
    for name in parameter_sets():
        if name == DATASHEET:
            continue
        for path, number in parameter_set(name).study().numbers().items():
            rows.append({"id": path.removeprefix("constants."), "parameters": name, **_number_row(number)})
    return rows


def _law_rows() -> list[Row]:
    laws: dict[str, Mapping[str, object]] = {
        "depth": DEPTH_LAWS,
        "sparsity": SPARSITY_LAWS,
        "batch": BATCH_LAWS,
        "data": DATA_LAWS,
    }
    return [
        {"id": name, "of": what, "meaning": (law.__doc__ or "").split("\n")[0]}
        for what, named in laws.items()
        for name, law in named.items()
    ]


def _assumption_rows() -> list[Row]:
    published, corrected = vars(Assumptions.named("as_published")), vars(Assumptions.named("corrected"))
    return [
        {"id": name, "as_published": str(value), "corrected": str(corrected[name]), "meaning": FIXES.get(name, "")}
        for name, value in published.items()
    ]


def _price_rows() -> list[Row]:
    return [
        {"id": price.accelerator, "date": price.date.isoformat(), **_number_row(price.usd_per_gpu_hour)}
        for price in prices_record().price
    ]


def _ownership_rows() -> list[Row]:
    record = ownership_record()
    terms = [{"id": name, **_number_row(number)} for name, number in record.numbers().items() if "." not in name]
    bought = [
        {"id": one.accelerator, "date": one.date.isoformat(), "what": one.what, **_number_row(one.usd_per_gpu)}
        for one in record.purchase
    ]
    return [*terms, *bought]


def _rows_of(record: Callable[[], FailuresRecord | PowerRecord]) -> list[Row]:
    return [{"id": name, **_number_row(number)} for name, number in record().numbers().items()]


def _source_rows() -> list[Row]:
    return [
        {"id": source.key, "year": source.year, "title": source.title, "url": source.url, "note": source.note}
        for source in sources().values()
    ]


_KINDS: dict[str, Callable[[], list[Row]]] = {
    **{kind: functools.partial(_record_rows, kind) for kind in _RECORDS},
    "models": show_engine.model_rows,
    "stacks": show_engine.stack_rows,
    **{kind: functools.partial(show_engine.fitted_rows, kind) for kind in show_engine.FITTED_KINDS},
    "calibrations": calibration_rows,
    "prices": _price_rows,
    "ownership": _ownership_rows,
    "power": functools.partial(_rows_of, power_record),
    "failures": functools.partial(_rows_of, failures_record),
    "constants": _constant_rows,
    "laws": _law_rows,
    "assumptions": _assumption_rows,
    "schedules": lambda: [{"id": name} for name in SCHEDULES],
    "parameter-sets": lambda: [{"id": name, "folder": parameter_set(name).root.name} for name in parameter_sets()],
    "sources": _source_rows,
}


@click.command("show", short_help="What is in the catalog, and says who?")
@click.argument("what", required=False)
@click.argument("name", required=False)
@click.option("--parameters", metavar="SET", help="Whose numbers, where several sets have the name.")
@json_option
def command(what: str | None, name: str | None, parameters: str | None, as_json: bool) -> None:
    """What is in the catalog, and says who?

    WHAT is a kind (accelerators, efficiencies, networks, clusters, models, stacks, kernels, links, training, memory,
    calibrations, prices, ownership, power, failures, constants, laws, assumptions, schedules, parameter-sets, sources)
    or a name; with a NAME, every number of it and where it is from. Fitted numbers (kernels, links, training, memory)
    say on how many rows, how well.
    Calibrations are machines that somebody measured: those that walltime ships, and those in the user's folder, instead
    of which WALLTIME_CALIBRATIONS may name another.
    The NAME of a model may be the path of a Hugging Face config.json, of its folder, or of a TOML file.

    \b
    walltime show accelerators
    walltime show h100-sxm
    walltime show llama-3.1-405b
    walltime show models path/to/config.json
    walltime show kernels h100-sxm
    walltime show clusters gb200-nvl72
    walltime show calibrations my-cluster
    """
    notes: list[str] = []
    if what is None:
        rows = [{"id": kind, "entries": len(make())} for kind, make in _KINDS.items()]
    elif what in _KINDS and name is None:
        rows = _KINDS[what]()
    elif path := _model_file(what, name):
        rows, notes = show_engine.file_details(path)
    else:
        rows = _details(what, name, parameters)
    if as_json:
        emit_json("show", {"what": what, "name": name, "parameters": parameters}, {"rows": rows}, notes)
        return
    if not rows:
        click.echo("none")
    else:
        click.echo(_listed(rows) if "number" in rows[0] else _tabulated(rows))
    for note in notes:
        click.echo(f"note: {note}", err=True)


def _model_file(what: str, name: str | None) -> str | None:
    """Return the path of a model's file: any path under ``models``, else a config.json or its folder."""
    if name is not None:
        return name if what == "models" and api.is_path(name) else None
    is_config = what.endswith(".json") or (Path(what) / "config.json").is_file()
    return what if is_config else None


def _tabulated(rows: list[Row]) -> str:
    """Return a table of the columns that say anything."""
    columns = dict.fromkeys(key for row in rows for key in row)
    shown = [column for column in columns if any(str(row.get(column, "")) for row in rows)]
    return table(shown, [[str(row.get(c, "")) for c in shown] for row in rows], left=len(shown))


def _listed(rows: list[Row]) -> str:
    """Return one number a paragraph, its provenance indented below."""
    width = max(len(str(row["number"])) for row in rows)
    lines: list[str] = []
    for row in rows:
        if row["number"] in ("id", "accelerator") and not row.get("kind"):
            lines += ["", f"{row['of']}, {row['parameters']}"]
        origin = ", ".join(filter(None, [row.get("kind", ""), row.get("source", ""), row.get("locator", "")]))
        lines.append(f"  {row['number']!s:{width}}  {row['value']}" + (f"   [{origin}]" if origin else ""))
        for extra in ("range", "second source", "note"):
            if row.get(extra):
                lines.append(f"  {'':{width}}    {extra}: {row[extra]}")
    return "\n".join(lines).strip("\n")


def _details(what: str, name: str | None, parameters: str | None) -> list[Row]:
    """Return every number of the records of this name."""
    if what == "calibrations":
        return _details_of_calibration(str(name))
    kinds, label = ([what], name) if name is not None else ([*_RECORDS, *_OF_THE_ENGINE], what)
    if name is not None and what not in (*_RECORDS, *_OF_THE_ENGINE):
        if what in _KINDS:
            found = [row for row in _KINDS[what]() if row["id"] == name]
            if not found:
                raise unknown(what.removesuffix("s"), name, [str(row["id"]) for row in _KINDS[what]()])
            return found
        raise unknown("kind", what, _KINDS)
    rows: list[Row] = [] if name is not None or parameters else calibration_details(str(label))
    for numbers in [parameters] if parameters else parameter_sets():
        for kind in kinds:
            for whose, record in _records(kind, [numbers]) if kind in _RECORDS else ():
                labels = filter(None, (getattr(record, "id", None) or record.accelerator, getattr(record, "name", "")))
                if str(label).lower() in (x.lower() for x in (*labels, *getattr(record, "aliases", []))):
                    rows += _details_of(whose, kind, record)
    if parameters is None or parameters.lower() == DATASHEET:
        rows += [row for kind in kinds if kind in _OF_THE_ENGINE for row in show_engine.details(kind, str(label))]
    if not rows:
        names = [name for kind in kinds for name in _names(kind)]
        names = names if name is not None else [*names, *_KINDS]
        raise unknown(
            "name" if name is None else what.removesuffix("s"),
            label,
            names,
            see=f"walltime show {what}" if name is not None else "walltime show",
        )
    return rows


def _details_of_calibration(name: str) -> list[Row]:
    """Return all of one calibration: how it was made, how good it is, and every number."""
    if rows := calibration_details(name):
        return [*rows, *(row for row in _details(rows[0]["parameters"], None, None) if row["of"] != "calibrations")]
    raise unknown("calibration", name, [row["id"] for row in calibration_rows()], see="walltime show calibrations")


def _names(kind: str) -> list[str]:
    return [row["id"] for row in _record_rows(kind)] if kind in _RECORDS else show_engine.names(kind)


def _details_of(numbers: str, kind: str, record: Any) -> list[Row]:
    head = {"parameters": numbers, "of": kind}
    plain = {
        field: value
        for field, value in msgspec.to_builtins(record).items()
        if isinstance(value, str) and value and field != "schema"
    }
    described = [{"number": field, "value": value, **head} for field, value in plain.items()]
    return described + [{"number": path, **_number_row(n), **head} for path, n in record.numbers().items()]


def _number_row(number: Number) -> Row:
    second = number.second
    return {
        "value": number.value if isinstance(number.value, bool) else f"{number.value:.7g}",
        "kind": number.kind,
        "source": number.source,
        "locator": number.locator,
        "range": "" if number.low is None else f"{number.low:.4g} to {number.high:.4g}",
        "second source": "" if second is None else f"{second.value:.7g} ({second.source}, {second.locator})",
        "note": " ".join(filter(None, [number.note, second.note if second else ""])),
    }
