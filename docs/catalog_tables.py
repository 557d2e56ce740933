"""The catalog as Markdown tables, each number with its source: what ``reference/data.md`` shows."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from walltime.catalog import (
    DATASHEET,
    AcceleratorRecord,
    ClusterRecord,
    EfficiencyRecord,
    NetworkRecord,
    Number,
    data_version,
    parameter_set,
    parameter_sets,
    sources,
)
from walltime.catalog.failures import failures_record
from walltime.catalog.ownership import ownership_record
from walltime.catalog.power import power_record
from walltime.catalog.prices import prices_record
from walltime.units import format_si

_GLANCE = {"hbm_bytes": "memory", "hbm_bytes_per_s": "its bandwidth", "l2_bytes": "L2", "power_w": "power"}
_UNITS = (
    ("bytes_per_clock_per_sm", "B"),
    ("bytes_per_sm", "B"),
    ("bytes_per_s", "B/s"),
    ("bytes", "B"),
    ("hz", "Hz"),
    ("_w", "W"),
)
_TABLE_TITLES = {"datasheet": "Datasheets", "Erdil2024": "Erdil2024: the published program's numbers"}


def page_part(name: str) -> str:
    """The Markdown that stands for one placeholder of the page."""
    return _PARTS[name]()


def _version() -> str:
    return f"Version of the data: `{data_version()}`."


def _glance() -> str:
    """One row an accelerator: what its numbers are, without their sources."""
    header = ["accelerator", "set", "dense 16-bit peak", "achieved", *_GLANCE.values()]
    rows = []
    for name in parameter_sets():
        numbers = parameter_set(name)
        for record in numbers.all(AcceleratorRecord):
            achieved = numbers.get(EfficiencyRecord, record.id).achievable_fraction
            peak = next(record.peak_flop_per_s[p] for p in ("bf16", "fp16", "fp32") if p in record.peak_flop_per_s)
            known = [getattr(record, field) for field in _GLANCE]
            rows.append(
                [
                    f"`{record.id}`",
                    name,
                    format_si(peak.value, "FLOP/s"),
                    f"{achieved.value:.0%}",
                    *(_value(field, number) if number else "" for field, number in zip(_GLANCE, known, strict=True)),
                ]
            )
    return _table(header, rows)


def _accelerators() -> str:
    parts = []
    for name in parameter_sets():
        numbers = parameter_set(name)
        parts.append(f"### {_TABLE_TITLES.get(name, name)}\n")
        for record in numbers.all(AcceleratorRecord):
            achieved = numbers.get(EfficiencyRecord, record.id)
            known_as = f" ({', '.join(f'`{alias}`' for alias in record.aliases)})" if record.aliases else ""
            about = [f"`{record.id}`{known_as}"]
            about += [f"released {record.released}"] if record.released else []
            parts.append(f"#### {_plain(record.name)}{'' if name == DATASHEET else f', {name}'}\n")
            parts.append(f"{', '.join(about)}. {_cited(record.notes)}\n")
            parts.append(_numbers(record.numbers() | achieved.numbers()))
    return "\n".join(parts)


def _networks() -> str:
    parts = []
    for name in parameter_sets():
        numbers = parameter_set(name)
        parts.append(f"### Networks of {name}\n")
        for record in numbers.all(NetworkRecord):
            sizes = "; ".join(
                f"level {i}, {_plain(level.name)}: {f'{level.size} to a group' if level.size else 'open-ended'}"
                for i, level in enumerate(record.level)
            )
            parts.append(f"#### `{record.id}`{'' if name == DATASHEET else f', {name}'}\n")
            parts.append(f"{_plain(record.name)}. {sizes}.\n")
            parts.append(_numbers(record.numbers()))
    return "\n".join(parts)


def _clusters() -> str:
    rows = [
        [
            f"`{record.id}`",
            name,
            _plain(record.name),
            f"`{record.accelerator}`",
            f"`{record.network}`",
            "; ".join(f"{_cite(s.source)}, {_cited(s.locator)}" for s in record.sources),
        ]
        for name in parameter_sets()
        for record in parameter_set(name).all(ClusterRecord)
    ]
    return _table(["cluster", "set", "name", "accelerator", "network", "source"], rows)


def _constants() -> str:
    study = parameter_set("Erdil2024").study()
    return _numbers({path.removeprefix("constants."): n for path, n in study.numbers().items()})


def _prices() -> str:
    rows = [
        [
            f"`{price.accelerator}`",
            f"{price.usd_per_gpu_hour.value:.2f}",
            str(price.date),
            f"{_cite(price.usd_per_gpu_hour.source)}, {_cited(price.usd_per_gpu_hour.locator)}: "
            f"“{_plain(price.usd_per_gpu_hour.as_quoted)}”",
        ]
        for price in prices_record().price
    ]
    return _table(["accelerator", "USD per hour", "date", "source"], rows)


def _ownership() -> str:
    """Every purchase price, then what else is paid."""
    record = ownership_record()
    bought = [
        [
            f"`{one.accelerator}`",
            _plain(one.what) + ("" if one.with_server else ", without a server"),
            f"{one.usd_per_gpu.value:,.0f}",
            str(one.date),
            " ".join([f"{_origin(one.usd_per_gpu)}.", *_remarks("usd_per_gpu", one.usd_per_gpu)]),
        ]
        for one in record.purchase
    ]
    terms = {path: number for path, number in record.numbers().items() if "." not in path}
    header = ["accelerator", "what", "USD a GPU", "date", "kind, source, where in it, remarks"]
    return f"{_table(header, bought)}\n{_numbers(terms)}"


def _power() -> str:
    return _numbers(power_record().numbers())


def _failures() -> str:
    return _numbers(failures_record().numbers())


_PARTS = {
    "version": _version,
    "glance": _glance,
    "accelerators": _accelerators,
    "networks": _networks,
    "clusters": _clusters,
    "constants": _constants,
    "prices": _prices,
    "ownership": _ownership,
    "power": _power,
    "failures": _failures,
}


def _numbers(numbers: dict[str, Number]) -> str:
    rows = []
    for path, number in numbers.items():
        rows.append([f"`{path}`", _value(path, number), " ".join([f"{_origin(number)}.", *_remarks(path, number)])])
    return _table(["number", "value", "kind, source, where in it, remarks"], rows)


def _origin(number: Number) -> str:
    return ", ".join(filter(None, [number.kind, _cite(number.source), _cited(number.locator)]))


def _remarks(path: str, number: Number) -> Iterable[str]:
    if number.as_quoted:
        yield f"Printed as “{_plain(number.as_quoted)}”."
    if number.low is not None:
        yield f"Between {_shown(path, number.low)} and {_shown(path, number.high)}."
    if number.note:
        yield _cited(number.note)
    if number.second:
        second = number.second
        yield f"Second source: {_shown(path, second.value)}, {_cite(second.source)}, {_cited(second.locator)}."
        yield _cited(second.note)


def _value(path: str, number: Number) -> str:
    return _shown(path, number.value).replace(" ", "\u00a0")


def _shown(path: str, value: Any) -> str:
    """A value in the unit that its name ends in."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    name = path.rpartition(".")[2]
    if path.startswith("peak_flop_per_s"):
        return format_si(value, "FLOP/s")
    if name.endswith("latency_s") or name == "matmul_and_all_reduce_s":
        return f"{value / 1e-6:.4g} µs"
    for ending, unit in _UNITS:
        if name.endswith(ending):
            return format_si(value, unit)
    return f"{value:,.7g}" if abs(value) < 1e7 else f"{value:.7g}".replace("e+", "e")


def _cite(key: str) -> str:
    return f"{{cite:t}}`{key}`" if key else ""


def _cited(text: str) -> str:
    """Plain text, with the keys of sources in it as citations."""
    keys = "|".join(sorted(map(re.escape, sources()), key=len, reverse=True))
    parts = re.split(rf"\b({keys})\b", text)
    return "".join(_cite(part) if i % 2 else _plain(part) for i, part in enumerate(parts))


def _plain(text: str) -> str:
    """Text without meaning to Markdown."""
    return re.sub(r"([\\`*_{}\[\]<>|$#~])", r"\\\1", re.sub(r"\s+", " ", text))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"
