"""Frontiers against reference values of the published program."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from walltime.engines import Assumptions
from walltime.hardware import cluster
from walltime.limits import FrontierQuestion, Run, RunFamily, width_grid
from walltime.limits.scaling_laws import SPARSITY_LAWS, constants
from walltime.plan import DEGREES
from walltime.problems import BadInput, unknown
from walltime.search import PUBLISHED
from walltime.validate.comparison import EXACT, Comparison, Verification, relative_error, summary
from walltime.validate.rows import PRINTED, check_fields, located, must_be_positive, read_rows

_PARAMETERS = "Erdil2024"
_BATCH_LAWS = {"def": "default", "ds": "deepseek", "none": "none"}
_BATCH_SETTINGS = {"Default scaling": "default", "DeepSeek scaling": "deepseek", "No scaling": "none"}


@dataclass(frozen=True)
class CurveName:
    """Which curve a file holds; None where neither its name nor an option says so.

    Attributes
    ----------
    fix
        One of the mended defects, or ``head`` for the program as published.
    accelerator
        A cluster of the parameter set Erdil2024.
    sparsity, batch_law
        Of the family of runs.
    years
        How long a run may take, in the study's years.
    """

    fix: str | None = None
    accelerator: str | None = None
    sparsity: str | None = None
    batch_law: str | None = None
    years: float | None = None

    @classmethod
    def of_file(cls, path: Path) -> "CurveName":
        """Read ``<fix>__<gpu>.<dense|sparse>.<batch law>.<years>`` off a file name, nothing off another."""
        fix, separator, rest = path.stem.partition("__")
        parts = rest.split(".", 3)
        if not separator or len(parts) != 4:
            return cls()
        gpu, sparsity, law, years = parts
        if law not in _BATCH_LAWS:
            raise unknown(f"batch law in the file name {path.name}", law, _BATCH_LAWS)
        try:
            duration = float(years)
        except ValueError:
            raise BadInput(f"the duration {years!r} in the file name {path.name} is not a number of years.") from None
        return cls(fix, gpu, sparsity, _BATCH_LAWS[law], duration)

    def or_else(self, other: "CurveName") -> "CurveName":
        """Fill in what is missing."""
        filled = {name: mine if mine is not None else getattr(other, name) for name, mine in vars(self).items()}
        return CurveName(**filled)

    def question(self) -> FrontierQuestion:
        """Return the question that the curve answers.

        Raises
        ------
        BadInput
            Something is missing or unknown.
        """
        if self.accelerator is None:
            raise BadInput(
                "the file does not say which accelerator. Valid: --accelerator, or its name in the file name."
            )
        run = constants("run")
        years = run["years"] if self.years is None else self.years
        if not 0 < years < math.inf:
            raise BadInput(f"a duration of {years!r} years must be positive and finite.")
        return FrontierQuestion(
            cluster=cluster(self.accelerator, parameters=_PARAMETERS),
            family=RunFamily(self.sparsity or "dense", self.batch_law or "default"),
            deadline_s=years * run["seconds_per_year"],
            space=PUBLISHED,
            assumptions=Assumptions().with_fix(self.fix or "head"),
        )


def verify_frontier(path: Path, given: CurveName | None = None, tolerance: float = EXACT) -> Verification:
    """Compare the best plan at the smallest sufficient cluster, width by width.

    Parameters
    ----------
    path
        JSON lines in the format of the reference's ``frontier.jsonl`` (many curves; ``study`` and ``setting``
        say which), or a CSV file of one curve, which ends at its last feasible width.
    given
        What overrides the file's name or rows.
    tolerance
        Relative; numbers of a CSV file agree if they round to the printed digits.

    Raises
    ------
    BadInput
        The file or its name cannot be understood.
    """
    given = given or CurveName()
    rows = _csv(path, given) if path.suffix == ".csv" else _json_lines(path, given)
    return summary(path, [located(path, row[0], _compare, *row, tolerance) for row in rows], tolerance)


_Pair = tuple[int, dict[Any, Any], FrontierQuestion]


_FEASIBLE = {"n_gpus": int, "utilization": float, "years": float}
_OPTIONAL = {
    "training_flop": float,
    "d_ff": int,
    "layers": int,
    "sparsity": int,
    "batch_seqs": int,
    "batch_tokens": int,
    "num_microbatches": int,
    "interleave": int,
    "tp_comm_seconds": float,
    "dp_comm_seconds": float,
    "pp_ep_comm_seconds": float,
    "latency_seconds": float,
    "months": float,
    "study": str,
    "setting": str,
}


def _json_lines(path: Path, given: CurveName) -> Iterator[_Pair]:
    in_file_name = CurveName.of_file(path)
    for line, row in read_rows(path, {"d_model": int, "feasible": bool}):
        must_be_positive(path, line, row, ("d_model",))
        expected = _FEASIBLE if row["feasible"] else {}
        check_fields(path, line, row, expected | {name: _OPTIONAL[name] for name in _OPTIONAL if name in row})
        name = given.or_else(located(path, line, _named_in, row)).or_else(in_file_name)
        yield line, row, located(path, line, name.question)


def _named_in(row: Mapping[str, Any]) -> CurveName:
    """Read ``study`` (``base_dense``, ``batch_dense``, ...) and ``setting`` (a GPU or a batch law)."""
    study, setting = row.get("study"), row.get("setting")
    sparsity = None
    if study is not None:
        sparsity = study.rpartition("_")[2]
        if sparsity not in SPARSITY_LAWS:
            raise BadInput(f"study={study!r} does not end in one of {', '.join(SPARSITY_LAWS)}.")
    if setting in _BATCH_SETTINGS:
        return CurveName(accelerator="H100 SXM", sparsity=sparsity, batch_law=_BATCH_SETTINGS[setting])
    return CurveName(accelerator=setting, sparsity=sparsity)


def _csv(path: Path, given: CurveName) -> Iterator[_Pair]:
    needed = {"d_model": int, "training_flop": float, "months": float, "utilization": float, "n_gpu": int}
    counts = ("d_ff", "layers", "sparsity", "batch_tokens", "total_params", "interleave", "microbatches", *DEGREES)
    times = ("tp_seconds", "dp_seconds", "pp_ep_seconds", "latency_seconds")
    optional: dict[str, Any] = dict.fromkeys(counts, int) | dict.fromkeys(times, float)
    try:
        question = given.or_else(CurveName.of_file(path)).question()
    except BadInput as problem:
        raise BadInput(f"{path}: {problem}") from None
    rows = read_rows(path, needed, optional)
    for line, row in rows:
        must_be_positive(path, line, row, ("d_model",))
        yield line, {**row, "feasible": True, "n_gpus": row["n_gpu"]}, question
    last_line, last = rows[-1]
    after = [width for width in width_grid() if width > last["d_model"]]
    if after:
        yield last_line, {"d_model": after[0], "feasible": False}, question


def _compare(line: int, row: dict[Any, Any], question: FrontierQuestion, tolerance: float) -> Comparison:
    run = question.run(row["d_model"])
    smallest = constants("run")["smallest_utilization"]
    what = {"accelerator": question.cluster.name, "d_model": row["d_model"]}
    if run is None or not row["feasible"]:
        agrees = not row["feasible"] if run is None else run.utilization < smallest
        what |= {"field": "feasible", "reference": row["feasible"], "ours": run is not None}
        return Comparison(line, 0.0 if agrees else 1.0, not agrees, what)
    numbers = _numbers(row, run, question.family.sequence_tokens)
    errors = {name: _error(row, name, ours, tolerance) for name, ours in numbers.items()}
    worst = max(errors, key=lambda name: (errors[name][1], errors[name][0]))
    what |= {"field": worst, "reference": row[worst], "ours": numbers[worst]}
    error, outside = errors[worst]
    return Comparison(line, error, outside, what)


def _numbers(row: Mapping[str, Any], run: Run, seq_len: int) -> dict[str, float]:
    """Return ours for each number that the row has."""
    years = run.run_time_s / constants("run")["seconds_per_year"]
    model = run.model
    ours = {
        "n_gpus": run.num_gpus,
        "utilization": run.utilization,
        "years": years,
        "months": 12 * years,
        "training_flop": run.training_flop,
        "d_ff": model.d_ff,
        "layers": model.num_layers,
        "sparsity": model.num_experts,
        "batch_tokens": model.batch_tokens,
        "batch_seqs": model.batch_tokens / seq_len,
    }
    return {name: value for name, value in ours.items() if name in row}


def _error(row: Mapping[Any, Any], name: str, ours: float, tolerance: float) -> tuple[float, bool]:
    """Return the relative error of one number and whether it is outside tolerance."""
    error = relative_error(ours, row[name])
    if name in _COUNTS:
        return error, ours != row[name]
    printed = row.get(PRINTED, {}).get(name)
    rounding = _half_last_digit(printed) if printed else 0.0
    return error, not abs(ours - row[name]) <= rounding + tolerance * abs(row[name])


_COUNTS = ("n_gpus", "d_ff", "layers", "sparsity", "batch_tokens", "batch_seqs")


def _half_last_digit(printed: str) -> float:
    """Return half of the last printed digit: 5e-7 for ``0.699245``."""
    mantissa, _, exponent = printed.lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    return 10 ** (int(exponent or 0) - decimals) / 2
