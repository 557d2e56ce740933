"""Matmuls and whole steps against reference values of the published program."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from walltime.engines import Assumptions, estimate, matmul_device
from walltime.hardware import Cluster, cluster
from walltime.limits.scaling_laws import constants
from walltime.physics.matmul import MatmulDevice, matmul_time_s
from walltime.plan import MlpPlan, MlpPlanBatch
from walltime.problems import BadInput, unknown
from walltime.validate.comparison import EXACT, Comparison, Verification, relative_error, summary
from walltime.validate.rows import located, must_be_positive, read_rows
from walltime.workload import MlpStack

_PARAMETERS = "Erdil2024"


def verify_matmul(path: Path, assumptions: Assumptions | None = None, tolerance: float = EXACT) -> Verification:
    """Compare single matmuls: fields ``gpu d1 d2 b weight_grad seconds``."""
    fields = {"gpu": str, "d1": int, "d2": int, "b": int, "weight_grad": bool, "seconds": float}
    devices: dict[str, MatmulDevice] = {}
    comparisons = []
    for line, row in read_rows(path, fields):
        must_be_positive(path, line, row, ("d1", "d2", "b"))
        name = row["gpu"]
        if name not in devices:
            chip = located(path, line, cluster, name, parameters=_PARAMETERS).accelerator
            devices[name] = matmul_device(chip, assumptions or Assumptions())
        dims = (float(row["d1"]), float(row["d2"]), float(row["b"]))
        ours = float(matmul_time_s(devices[name], *dims, weight_gradient=row["weight_grad"]))
        error = relative_error(ours, row["seconds"])
        what = {"gpu": name, "seconds": row["seconds"], "ours": ours}
        comparisons.append(Comparison(line, error, not error <= tolerance, what))
    return summary(path, comparisons, tolerance)


_STEP_NUMBERS = (
    "total_seconds",
    "utilization",
    "tp_comm_seconds",
    "dp_comm_seconds",
    "pp_ep_comm_seconds",
    "latency_seconds",
)
_STEP_COUNTS = ("d_model", "d_ff", "layers", "sparsity", "batch_seqs", "seq_len", "num_microbatches", "interleave")
_PLACED = {"dp": "DP", "tp_model": "TPm", "tp_ff": "TPf", "pp": "PP", "ep": "EP"}


def verify_step(path: Path, assumptions: Assumptions | None = None, tolerance: float = EXACT) -> Verification:
    """Compare whole runs under given plans, in the format of the reference's ``step.jsonl``.

    Times in the file are of the whole run, which trains 20 tokens per parameter.
    """
    fields: dict[str, Any] = {"gpu": str, "placement": dict, "zero_bubble": bool, "recompute": (bool, type(None))}
    fields |= dict.fromkeys(_STEP_COUNTS, int) | dict.fromkeys(_STEP_NUMBERS, float)
    fields |= dict.fromkeys(("overlap_tp", "overlap_dp", "overlap_pp"), float)
    clusters: dict[str, Cluster] = {}
    comparisons = []
    for line, row in read_rows(path, fields):
        must_be_positive(path, line, row, _STEP_COUNTS)
        name = row["gpu"]
        if name not in clusters:
            clusters[name] = located(path, line, cluster, name, parameters=_PARAMETERS)
        ours = located(path, line, _step, row, clusters[name], assumptions or Assumptions())
        errors = {number: relative_error(ours[number], row[number]) for number in _STEP_NUMBERS}
        worst = max(errors, key=lambda number: errors[number])
        what = {"gpu": name, "field": worst, "reference": row[worst], "ours": ours[worst]}
        comparisons.append(Comparison(line, errors[worst], not errors[worst] <= tolerance, what))
    return summary(path, comparisons, tolerance)


def _step(row: Mapping[str, Any], on: Cluster, assumptions: Assumptions) -> dict[str, float]:
    tokens = constants("run")["tokens_per_parameter"]
    shape = (row["d_model"], row["d_ff"], row["layers"], row["sparsity"])
    num_parameters = 2 * math.prod(shape)
    model = MlpStack(*shape, row["batch_seqs"] * row["seq_len"], tokens * num_parameters)
    for letters in row["placement"]:
        if letters not in _PLACED.values():
            raise unknown("kind in placement", letters, _PLACED.values())
    for letters in _PLACED.values():
        degrees = row["placement"].get(letters)
        if not isinstance(degrees, list) or len(degrees) != on.network.num_levels:
            raise BadInput(
                f"placement.{letters}={degrees!r} must be a list of {on.network.num_levels} degrees, "
                f"one for each level of {on.name} ({', '.join(on.network.level_names)})."
            )
    plan = MlpPlan(
        **{field: tuple(row["placement"][letters]) for field, letters in _PLACED.items()},
        num_microbatches=row["num_microbatches"],
        interleave=row["interleave"],
        schedule="zero-bubble" if row["zero_bubble"] else "1f1b",
        recompute=bool(row["recompute"]),
    )
    _must_have_shares(row, plan)
    overlaps = {name: row[name] for name in ("overlap_tp", "overlap_pp", "overlap_dp")}
    result = estimate(model, on, MlpPlanBatch.of([plan]), replace(assumptions, **overlaps))
    run = {name: float(time_s[0]) * model.num_steps for name, time_s in result.busy_s.items()}
    return {
        "total_seconds": float(result.run_time_s[0]),
        "utilization": float(result.utilization[0]),
        "tp_comm_seconds": run["tp_comm"],
        "dp_comm_seconds": run["dp_comm"],
        "pp_ep_comm_seconds": run["pp_comm"],
        "latency_seconds": run["latency"],
    }


def _must_have_shares(row: Mapping[str, Any], plan: MlpPlan) -> None:
    """Refuse a row that splits something so far that a share, rounded down as published, is nothing."""
    degrees = {f"placement.{letters}": plan.degree(name) for name, letters in _PLACED.items()}
    parts = degrees | {name: row[name] for name in ("num_microbatches", "interleave")}
    tokens = row["batch_seqs"] * row["seq_len"] // row["sparsity"]
    for field, size, among in (
        ("d_model", row["d_model"], ("placement.TPm",)),
        ("d_ff", row["d_ff"], ("placement.TPf",)),
        ("layers", row["layers"], ("placement.PP", "interleave")),
        ("sparsity", row["sparsity"], ("placement.EP",)),
        ("batch_seqs x seq_len / sparsity", tokens, ("placement.DP", "num_microbatches")),
    ):
        if size < math.prod(parts[name] for name in among):
            split = " x ".join(f"{name}={parts[name]}" for name in among)
            raise BadInput(f"{field}={size} is split by {split}: a share comes to zero.")
