"""Measured training rows: one CSV format for every source, read so strictly that a row is never half understood."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from walltime.catalog import data_root
from walltime.catalog.fitted import training_record
from walltime.problems import BadInput, unknown
from walltime.units import LARGEST_COUNT, shortened
from walltime.validate.harness import HARNESS_COLUMNS
from walltime.validate.rows import csv_lines, file_text

_EMPTY = ("", "nan", "none", "null", "na", "n/a", "-")
_TRUE, _FALSE = ("true", "yes", "1", "1.0", "on"), ("false", "no", "0", "0.0", "off")
_SHARDINGS = {
    "ddp": "ddp", "none": "ddp", "zero0": "ddp", "zero1": "zero1", "zero2": "zero2", "grad_op": "zero2",
    "zero3": "zero3", "fsdp": "zero3", "fsdp1": "zero3", "fsdp2": "zero3", "full_shard": "zero3", "hsdp": "hsdp",
    "hybrid_shard": "hsdp",
}  # fmt: skip
_RECOMPUTES = {
    "none": "none", "false": "none", "no": "none", "disabled": "none", "off": "none", "0": "none",
    "selective": "selective", "op": "selective", "selective_op": "selective", "core_attn": "selective",
    "attention": "selective", "selective_layer": "selective", "partial": "selective",
    "full": "full", "true": "full", "yes": "full", "every_layer": "full", "block": "full", "uniform": "full",
    "all": "full", "1": "full",
}  # fmt: skip
_PRECISIONS = {
    "bf16": "bf16", "bfloat16": "bf16", "bf16_mixed": "bf16", "fp16": "fp16", "float16": "fp16", "half": "fp16",
    "fp16_mixed": "fp16", "fp8": "fp8", "float8": "fp8", "fp8_block": "fp8-block", "mxfp8": "mxfp8", "fp4": "fp4",
    "nvfp4": "fp4", "fp32": "fp32", "float32": "fp32", "tf32": "tf32",
}  # fmt: skip
STATUSES = ("ok", "oom")
"""It ran, or it ran out of memory."""
CORE = "core"
"""The scope of rows that count in headline figures; an empty scope is read as this."""
REQUIRED = ("model_name", "gpu", "n_gpus", "seq_len", "global_batch_seqs")
"""Columns that a file must have; their cells may be empty."""
_ZERO_IS_NONE = ("n_experts", "top_k", "ep", "vpp")
_MEASURES = ("step_time_s", "tokens_per_s_per_gpu", "model_tflops_per_gpu", "hfu_tflops_per_gpu", "mfu", "mem_gb")
_LOOKS_LIKE = 0.8
_LARGEST_NUMBER = 1e18


@dataclass(frozen=True)
class MeasuredRow:
    """One measured training configuration, as its source prints it; ``None`` where the source does not say.

    The columns are those of the README beside the shipped files; ``status`` (``ok`` or ``oom``), ``gpu_canonical``,
    ``scope`` and ``quality`` may be absent. ``mfu`` is a fraction, ``mem_gb`` is whatever the source prints.
    """

    source_id: str = ""
    source_ref: str = ""
    model_name: str = ""
    params_b: float | None = None
    n_layers: int | None = None
    d_model: int | None = None
    d_ff: int | None = None
    n_heads: int | None = None
    n_kv_heads: int | None = None
    vocab: int | None = None
    n_experts: int | None = None
    top_k: int | None = None
    seq_len: int | None = None
    gpu: str = ""
    gpus_per_node: int | None = None
    n_gpus: int | None = None
    intranode: str = ""
    internode_gbps_per_gpu: float | None = None
    global_batch_seqs: int | None = None
    micro_batch: int | None = None
    tp: int | None = None
    pp: int | None = None
    vpp: int | None = None
    cp: int | None = None
    ep: int | None = None
    dp: int | None = None
    sharding: str = ""
    sequence_parallel: bool | None = None
    activation_recompute: str = ""
    precision: str = ""
    framework: str = ""
    step_time_s: float | None = None
    tokens_per_s_per_gpu: float | None = None
    model_tflops_per_gpu: float | None = None
    hfu_tflops_per_gpu: float | None = None
    mfu: float | None = None
    mem_gb: float | None = None
    power_w: float | None = None
    notes: str = ""
    gpu_canonical: str = ""
    scope: str = CORE
    quality: str = ""
    status: str = ""
    file: str = ""
    line: int = 0
    other: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def place(self) -> str:
        """File and line, for messages."""
        return f"{self.file}:{self.line}" if self.file else f"line {self.line}"

    @property
    def text(self) -> str:
        """Everything that the row says in words: notes, framework and columns of no fixed meaning."""
        others = (f"{name}={value}" for name, value in self.other.items() if name not in HARNESS_COLUMNS)
        return "; ".join([self.notes, self.framework, *others])


_OWN = ("file", "line", "other")
COLUMNS = tuple(f.name for f in fields(MeasuredRow) if f.name not in _OWN)
"""Every column that is understood."""
_CHOICES = {
    "sharding": _SHARDINGS,
    "activation_recompute": _RECOMPUTES,
    "precision": _PRECISIONS,
    "status": {s: s for s in STATUSES},
}
_KINDS = {f.name: str(f.type) for f in fields(MeasuredRow) if f.name not in _OWN}


def read_measured(path: Path, *, strict: bool = True) -> list[MeasuredRow]:
    """Read a file of measured rows.

    Parameters
    ----------
    path
        A CSV file with a header. Columns may stand in any order; unknown ones are kept as words of the row, unless
        their name is nearly that of a known column, which is taken for a slip.
    strict
        Refuse a row whose stated degrees contradict each other; otherwise leave that to `cases`, which skips it.

    Raises
    ------
    BadInput
        With the file, the line, the field, its value and what would be valid.
    """
    lines = (row for row in csv_lines(path, file_text(path)) if any(cell.strip() for cell in row[1]))
    header = [name.strip() for name in next(lines, (1, []))[1]]
    _check_header(path, header)
    rows = []
    for line, cells in lines:
        place = f"{path}:{line}"
        if len(cells) != len(header):
            raise BadInput(f"{place}: {len(cells)} cells under {len(header)} columns.")
        row = _row(path, line, place, dict(zip(header, cells, strict=True)))
        if strict and (problem := contradiction(row)):
            raise BadInput(f"{place}: {problem}")
        rows.append(row)
    if not rows:
        raise BadInput(f"{path}: no rows.")
    return rows


def _check_header(path: Path, header: Sequence[str]) -> None:
    for name in header:
        if header.count(name) > 1:
            raise BadInput(f"{path}:1: column {name!r} stands there twice.")
        if name in COLUMNS:
            continue
        near = difflib.get_close_matches(name.lower(), COLUMNS, n=1, cutoff=_LOOKS_LIKE)
        if near and near[0] not in header:
            raise BadInput(f"{path}:1: unknown column {name!r}. Did you mean {near[0]!r}?")
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise BadInput(f"{path}:1: no column {missing[0]!r}. A file of measured rows has {', '.join(REQUIRED)}.")


def _row(path: Path, line: int, place: str, cells: Mapping[str, str]) -> MeasuredRow:
    values: dict[str, Any] = {}
    out_of_memory = cells.get("status", "").strip().lower() == "oom"
    for name, cell in cells.items():
        shown = cell.strip()
        if name not in _KINDS or (_is_zero(shown) and (name in _ZERO_IS_NONE or (name in _MEASURES and out_of_memory))):
            continue
        if shown.lower() not in _EMPTY or (name in _CHOICES and shown.lower() in _CHOICES[name]):
            values[name] = _value(place, name, shown)
    other = {n: c.strip() for n, c in cells.items() if n not in _KINDS and c.strip().lower() not in _EMPTY}
    values.setdefault("source_id", path.stem)
    if (values.get("mfu") or 0) > 1:
        raise BadInput(f"{place}: mfu={values['mfu']:g} is a fraction of at most 1. Percent? {values['mfu'] / 100:g}.")
    return MeasuredRow(**values, file=str(path), line=line, other=other)


def _value(place: str, name: str, cell: str) -> Any:
    if name in _CHOICES:
        known = _CHOICES[name]
        key = cell.lower().replace("-", "_")
        if key not in known:
            raise BadInput(f"{place}: {unknown(name, cell, dict.fromkeys(known.values()))}")
        return known[key]
    kind = _KINDS[name]
    if "bool" in kind:
        return _truth(place, name, cell)
    if "int" in kind or "float" in kind:
        return _number(place, name, cell, whole="int" in kind)
    return cell


def _is_zero(cell: str) -> bool:
    """Whether a cell says zero: no experts in a dense model, no time of a run that ran out of memory."""
    return cell in ("0", "0.0")


def _truth(place: str, name: str, cell: str) -> bool:
    if cell.lower() not in _TRUE + _FALSE:
        raise BadInput(f"{place}: {name}={shortened(cell)} is neither true nor false.")
    return cell.lower() in _TRUE


def _number(place: str, name: str, cell: str, *, whole: bool) -> float | int:
    try:
        number = float(cell)
    except ValueError:
        raise BadInput(f"{place}: {name}={shortened(cell)} is not a number. Empty means: not said.") from None
    if not 0 < number <= (LARGEST_COUNT if whole else _LARGEST_NUMBER):
        raise BadInput(f"{place}: {name}={shortened(cell)} must be positive and finite. Empty means: not said.")
    if whole and not number.is_integer():
        raise BadInput(f"{place}: {name}={shortened(cell)} must be a whole number.")
    return int(number) if whole else number


def contradiction(row: MeasuredRow) -> str:
    """Return what the row's stated degrees contradict, with the value that would agree; empty if they agree."""
    return next(_contradictions(row), "")


def _contradictions(row: MeasuredRow) -> Iterator[str]:
    if row.tp and row.pp and row.n_gpus:
        inner = row.tp * row.pp * (row.cp or 1)
        shown = f"tp={row.tp}, pp={row.pp}, cp={row.cp or 1}"
        if row.n_gpus % inner:
            yield f"n_gpus={row.n_gpus} is not a multiple of {inner} ({shown}). Nearest: {_nearest(row.n_gpus, inner)}."
        elif row.dp and inner * row.dp != row.n_gpus:
            yield f"dp={row.dp} contradicts n_gpus={row.n_gpus} with {shown}. Valid: dp={row.n_gpus // inner}."
        elif row.global_batch_seqs and row.micro_batch:
            chunk = row.n_gpus // inner * row.micro_batch
            if row.global_batch_seqs % chunk:
                yield (
                    f"global_batch_seqs={row.global_batch_seqs} is not a multiple of {chunk} "
                    f"(dp={row.n_gpus // inner}, micro_batch={row.micro_batch}). "
                    f"Nearest: {_nearest(row.global_batch_seqs, chunk)}."
                )
    yield from _indivisible(row)
    yield from _out_of_place(row)


def _out_of_place(row: MeasuredRow) -> Iterator[str]:
    """Say which degree has nothing to divide, and whether the two names of the accelerator are of two of them."""
    is_dense = row.n_layers and row.d_model and row.d_ff and not row.n_experts
    if is_dense and (row.ep or 1) > 1:
        yield f"ep={row.ep} needs experts: n_experts is empty. Valid: 1."
    if row.pp == 1 and (row.vpp or 1) > 1:
        yield f"vpp={row.vpp} needs a pipeline: pp is 1. Valid: 1."
    if len(set(_accelerator_families(row))) > 1:
        yield f"gpu={row.gpu!r} contradicts gpu_canonical={row.gpu_canonical!r}. Valid: one accelerator."


def _accelerator_families(row: MeasuredRow) -> Iterator[str]:
    """Yield the family that each of the two names of the accelerator stands for, without form factor and memory."""
    from walltime.validate.chips import accelerator_of  # which reads rows, and so needs this module

    for alone in (replace(row, gpu_canonical=""), replace(row, gpu="")):
        if found := accelerator_of(alone):
            yield training_record().family_of(found).removeprefix("g").split("-")[0]  # a GB200 holds B200s


def _indivisible(row: MeasuredRow) -> Iterator[str]:
    for name, parts, whole_name, whole in (
        ("tp", row.tp, "n_heads", row.n_heads),
        ("n_kv_heads", row.n_kv_heads, "n_heads", row.n_heads),
        ("ep", row.ep, "n_experts", row.n_experts),
    ):
        if parts and whole and whole % parts:
            yield f"{name}={parts} does not divide {whole_name}={whole}. Nearest: {_nearest_divisor(whole, parts)}."
    for name, few, most_name, most in (
        ("pp", row.pp, "n_layers", row.n_layers and row.n_layers + 2),
        ("top_k", row.top_k, "n_experts", row.n_experts),
    ):
        if few and most and few > most:
            yield f"{name}={few} is more than {most_name} allows ({most})."


def _nearest(value: int, multiple: int) -> int:
    return max(1, round(value / multiple)) * multiple


def _nearest_divisor(whole: int, value: int) -> int:
    divisors = (d for d in range(1, min(whole, 2 * value) + 1) if whole % d == 0)
    return min(divisors, key=lambda divisor: abs(divisor - value))


def core_rows(paths: Iterable[Path] | None = None) -> Sequence[MeasuredRow]:
    """Return the core rows of files; those that walltime ships, which are read once, by default."""
    if paths is None:
        return _shipped_core_rows()
    return [row for path in paths for row in read_measured(path, strict=False) if row.scope == CORE]


@cache
def _shipped_core_rows() -> Sequence[MeasuredRow]:
    return core_rows(shipped_files())


def shipped_files() -> list[Path]:
    """Return the files of measured rows that walltime ships."""
    return sorted((data_root() / "published" / "measured").glob("*.csv"))
