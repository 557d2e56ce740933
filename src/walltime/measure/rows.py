"""A measured training run as a row: the columns that `walltime.validate` reads, then those of the harness.

``step_time_s`` is the median of the timed steps: on a machine that others use too, one hiccup moves a mean by more
than what is to be predicted. The mean has a column beside it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from walltime import __version__
from walltime.durable import atomic_json
from walltime.measure.records import PowerReading, StepParts, TrainRequest, TrainResult
from walltime.measure.row_files import lines_appended_to
from walltime.plan import Plan
from walltime.problems import BadInput
from walltime.validate.harness import HARNESS_COLUMNS, model_dimensions
from walltime.validate.measured import COLUMNS as MEASURED_COLUMNS
from walltime.workload import Training, Transformer
from walltime.workload.parameters import num_parameters

COLUMNS = (*MEASURED_COLUMNS, *HARNESS_COLUMNS)
"""Every column of a row of the harness, in order."""
SOURCE_ID = "walltime_measure"
_GIGA = 1e9
_HALF = 0.5
_PARTS = ("compute_s", "communication_s", "exposed_communication_s", "idle_s")
_KINDS = ("allocated", "reserved", "resident", "weights", "gradients", "optimizer")


def row_of(result: TrainResult) -> dict[str, str]:
    """Return a result as the cells of a row, `COLUMNS` in order; what was not measured is empty."""
    request, plan = result.request, result.request.plan
    values = {**_model(request.training), **_plan(plan), **_measured(result), **_harness(result)}
    values |= {
        "source_id": SOURCE_ID,
        "source_ref": f"walltime measure train, walltime {__version__}",
        "model_name": request.model_id or request.training.model.name,
        "gpu": result.device,
        "gpus_per_node": min(result.num_ranks_per_node, plan.num_gpus),
        "n_gpus": plan.num_gpus,
        "framework": result.framework,
        "notes": "; ".join(_notes(result)),
        "status": result.status,
    }
    return {name: _cell(values.get(name)) for name in COLUMNS}


def _model(training: Training) -> dict[str, Any]:
    model = training.model
    experts = {"n_experts": model.num_experts, "top_k": model.top_k} if model.is_moe else {}
    return {
        "params_b": num_parameters(model) / _GIGA,
        "n_layers": model.num_layers,
        "d_model": model.d_model,
        "d_ff": model.d_ff_expert if model.is_moe else model.d_ff,
        "n_heads": model.num_heads,
        "n_kv_heads": model.num_kv_heads,
        "vocab": model.vocab_size,
        "seq_len": training.seq_len,
        "global_batch_seqs": training.batch_seqs,
        "model_dimensions": model_dimensions(model),
        **experts,
    }


def _plan(plan: Plan) -> dict[str, Any]:
    hybrid = 0 < plan.shard < plan.dp and plan.sharding == "zero3"
    half = plan.recompute == "full" and plan.recompute_layers == _HALF
    return {
        **{name: getattr(plan, name) for name in ("micro_batch", "tp", "pp", "cp", "dp")},
        "vpp": plan.vpp if plan.vpp > 1 else None,
        "ep": plan.ep if plan.ep > 1 else None,
        "sharding": "hsdp" if hybrid else plan.sharding,
        "sequence_parallel": plan.sequence_parallel and plan.tp > 1,
        "activation_recompute": "selective" if half else plan.recompute,
        "precision": plan.precision,
        "schedule": plan.schedule if plan.pp > 1 else None,
        "reshard": plan.reshard if plan.sharding == "zero3" else None,
        "shard": plan.shard or None,
        "recompute_layers": plan.recompute_layers if plan.recompute == "full" else None,
    }


def _measured(result: TrainResult) -> dict[str, Any]:
    """Return what was timed; nothing of a run that ran out of memory."""
    if result.status == "oom" or not result.step_times_s:
        return {}
    median_s = float(np.median(result.step_times_s))
    tokens = result.request.training.batch_tokens / result.request.plan.num_gpus
    memory_bytes = result.memory_bytes.get("allocated", result.memory_bytes.get("grown"))
    return {
        "step_time_s": median_s,
        "tokens_per_s_per_gpu": tokens / median_s,
        "mem_gb": memory_bytes / _GIGA if memory_bytes else None,
        "power_w": result.power.mean_w if result.power else None,
    }


def _harness(result: TrainResult) -> dict[str, Any]:
    request, times_s = result.request, np.array(result.step_times_s)
    values: dict[str, Any] = {
        "seed": request.seed,
        "torch_compile": request.compiled,
        "attention": result.attention,
        "num_warmup_steps": request.num_warmup_steps,
        "environment_id": result.environment.get("id"),
        "date": result.environment.get("date"),
    }
    if len(times_s):
        values |= {
            "num_steps": len(times_s),
            "step_time_mean_s": times_s.mean(),
            "step_time_std_s": times_s.std(ddof=1) if len(times_s) > 1 else None,
            "step_time_p10_s": np.quantile(times_s, 0.1),
            "step_time_p90_s": np.quantile(times_s, 0.9),
        }
    if result.parts:
        values |= {"profiled_step_s": result.parts.step_s} | {name: getattr(result.parts, name) for name in _PARTS}
    if result.losses:
        values |= {"loss_first": result.losses[0], "loss_last": result.losses[-1]}
    if result.power and result.power.energy_j is not None and len(times_s):
        values["energy_per_step_j"] = result.power.energy_j * request.plan.num_gpus / len(times_s)
    return values | {f"{kind}_bytes": result.memory_bytes.get(kind) for kind in _KINDS}


def _notes(result: TrainResult) -> list[str]:
    """Say what has no column of its own, in the words that `walltime.validate.notes` reads."""
    request, plan = result.request, result.request.plan
    said = [f"torch_compile={str(request.compiled).lower()}"]
    if result.attention:
        said.append("unfused attention" if result.attention == "unfused" else f"attention={result.attention}")
    if result.memory_bytes:
        grown = "by which the resident set grew"
        said.append(f"mem_gb decimal GB {'allocated' if 'allocated' in result.memory_bytes else grown}")
    if plan.recompute == "selective":
        said.append("selective operations")
    if plan.recompute == "full" and plan.recompute_layers == _HALF:
        said.append("every other layer")
    if plan.sharding == "zero3" and not plan.reshard:
        said.append("reshard=false")
    if 0 < plan.shard < plan.dp:
        said.append(f"shard degree {plan.shard}")
    if plan.pp > 1 and plan.schedule == "gpipe":
        said.append("schedule=gpipe")
    return said


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "True" if value else "False"
    if isinstance(value, float):
        return repr(float(value)) if math.isfinite(value) else ""
    return str(value)


def write_rows(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Append rows to a CSV file, with a header if it is new or empty.

    Raises
    ------
    BadInput
        The file has other columns, or cannot be written.
    """
    append_lines = lines_appended_to(path, COLUMNS)
    append_lines([row[name] for name in COLUMNS] for row in rows)


def result_json(result: TrainResult) -> dict[str, Any]:
    """Return a result as a JSON document: the row, what it ran on, and everything that was measured."""
    content = asdict(result) | {"losses": [loss if math.isfinite(loss) else None for loss in result.losses]}
    environment = content.pop("environment")
    return {"row": row_of(result), "environment": environment, "result": content}


def result_from_json(document: Mapping[str, Any]) -> TrainResult:
    """Return the result of a document of `result_json`.

    Raises
    ------
    BadInput
        It is not such a document.
    """
    try:
        content = dict(document["result"])
        request = dict(content.pop("request"))
        training, plan = dict(request.pop("training")), dict(request.pop("plan"))
        model = Transformer(**training.pop("model"))
        asked = TrainRequest(
            Training(model, **training), Plan(**{**plan, "order": tuple(plan.pop("order"))}), **request
        )
        parts, power = content.pop("parts"), content.pop("power")
        return TrainResult(
            request=asked,
            parts=StepParts(**parts) if parts else None,
            power=PowerReading(**power) if power else None,
            step_times_s=tuple(content.pop("step_times_s")),
            losses=tuple(math.nan if loss is None else loss for loss in content.pop("losses")),
            environment=document["environment"],
            **content,
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise BadInput("not a result of walltime measure train. Valid: the file of its --result.") from None


def write_result(path: Path, result: TrainResult) -> None:
    """Write `result_json` to a file, whole or not at all, so that a reader never sees a part of it.

    Raises
    ------
    BadInput
        It cannot be written there.
    """
    atomic_json(path, result_json(result))
