"""``walltime scale``: what does each added GPU, watt and dollar return?"""

from pathlib import Path
from typing import Any

import click

from walltime.cli.common import Progress, cluster_inputs, emit_json, json_option
from walltime.cli.question import run_warnings
from walltime.cli.scale_question import scale_question
from walltime.cli.search_options import batch_options, requirement_options, seq_len_option
from walltime.cli.search_question import Asked, real_name
from walltime.interop.run import Run, run_command
from walltime.planner import Option
from walltime.planner.scaling import Curve, ScalePoint, ScaleQuestion, Scaling, require_possible, scale
from walltime.problems import BadInput
from walltime.report.charts import require_matplotlib
from walltime.report.files import check_writable, csv_text
from walltime.report.scale import scale_text
from walltime.report.scale_files import write_scale


@click.command("scale", short_help="What does each added GPU, watt and dollar return?")
@click.argument("model", required=False)
@click.option("--on", "on", multiple=True, metavar="A..BxCLUSTER", help="Sizes of a cluster, or one size (repeat).")
@click.option("--per-doubling", type=int, metavar="N", help="Sizes in each doubling of a range. Default 1.")
@click.option("--mode", metavar="MODE", help="weak or strong. Default: as the batch is given, else strong.")
@batch_options
@click.option("--batch-per-gpu", metavar="N", help="Weak scaling: sequences of a GPU and step, e.g. 2, 0.125 or 1/8.")
@seq_len_option
@requirement_options
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for CSV, PNG and SVG files.")
@click.option("--csv", "as_csv", is_flag=True, help="All metrics as CSV on standard output.")
@json_option
def command(model: str | None, out: Path | None, as_csv: bool, as_json: bool, **flags: Any) -> None:
    """What does each added GPU, watt and dollar return?

    The best plan at every size of a cluster, with throughput, power, cost and goodput; from where on an added GPU
    returns less than half of what it costs, and what would help most there. MODEL is as for walltime search.

    \b
    walltime scale llama-2-7b --on 8..16384xh100-sxm
    walltime scale llama-2-7b --on 8..2048xh100-sxm --batch-per-gpu 2 --stack fsdp1
    walltime scale llama-3.1-405b --on 1024..65536xh100-sxm --batch-tokens 16M --seq-len 8192
    walltime scale llama-3.1-70b --on 64..4096xh100-sxm --on 64..4096xb200 --batch 1024 --out scaling
    """
    asked = _asked(model, flags)
    if as_json and as_csv:
        raise BadInput("--json and --csv both claim standard output. Valid: one of them.")
    if out is not None:
        require_matplotlib()
        check_writable(out)
    progress = Progress("sizes searched")
    found = scale(asked.question, progress)
    progress.finish()
    require_possible(found)
    written = [] if out is None else write_scale(out, found)
    warnings = _warnings(asked, found)
    if as_json:
        emit_json(
            "scale", _inputs(asked), _document(asked, found) | {"files": [str(path) for path in written]}, warnings
        )
    elif as_csv:
        click.echo(csv_text(found.to_rows()), nl=False)
    else:
        click.echo(scale_text(found))
        click.echo(_next(asked, found))
    if written and not as_json:
        click.echo(f"wrote {len(written)} files in {out}", err=True)
    for warning in () if as_json or as_csv else warnings:
        click.echo(f"note: {warning}", err=True)


def _asked(model: str | None, flags: dict[str, Any]) -> Asked[ScaleQuestion]:
    name = real_name(model, "walltime scale llama-2-7b --on 8..2048xh100-sxm --batch-per-gpu 2")
    if not flags["on"]:
        raise BadInput("no cluster is named. Valid: --on 8..16384xh100-sxm.")
    return scale_question(flags | {"model": name})


def _run(asked: Asked[ScaleQuestion], point: ScalePoint, option: Option) -> Run:
    estimate = option.estimate
    return Run(asked.model, estimate.training, point.cluster, option.plan, estimate.stack)


def _warnings(asked: Asked[ScaleQuestion], found: Scaling) -> list[str]:
    """Return what to mind about the plans of all sizes, each once, with the sizes that it is about."""
    said = list(asked.notes)
    for curve in found.curves:
        about: dict[str, list[str]] = {}
        for point in curve.possible:
            for warning in run_warnings(_run(asked, point, point.option)) if point.option else ():
                about.setdefault(warning, []).append(f"{point.num_gpus:,}")
        for warning, sizes in about.items():
            everywhere = len(sizes) == len(curve.possible)
            said.append(warning if everywhere else f"{warning} ({_listed(sizes)} GPUs)")
    return list(dict.fromkeys(said))


def _listed(sizes: list[str]) -> str:
    return sizes[0] if len(sizes) == 1 else f"{', '.join(sizes[:-1])} and {sizes[-1]}"


def _next(asked: Asked[ScaleQuestion], found: Scaling) -> str:
    point = next(curve.critical for curve in found.curves if curve.possible)
    on = f"{point.num_gpus}x{point.cluster.id}"
    return f"\nnext: walltime search {asked.model} --on {on} --batch {point.batch_seqs}, with your other flags"


# JSON


def _inputs(asked: Asked[ScaleQuestion]) -> dict[str, Any]:
    scaling, question = asked.question, asked.question.question
    constraints, per_gpu = question.constraints, scaling.batch_per_gpu
    return {
        "model": question.training.model.name,
        "mode": scaling.mode,
        "seq_len": question.training.seq_len,
        "batch_seqs": question.training.batch_seqs if per_gpu is None else None,
        "batch_seqs_per_gpu": None if per_gpu is None else float(per_gpu),
        "clusters": [cluster_inputs(cluster) for cluster in question.clusters],
        "stack": question.stack.id,
        "precisions": list(dict.fromkeys(p for cluster in question.clusters for p in question.precisions_on(cluster))),
        "constraints": [constraints.said(name) for name in constraints.names()],
        "terms": vars(question.terms),
    }


def _document(asked: Asked[ScaleQuestion], found: Scaling) -> dict[str, Any]:
    return {"mode": found.asked.mode, "curves": [_curve(asked, curve) for curve in found.curves]}


def _curve(asked: Asked[ScaleQuestion], curve: Curve) -> dict[str, Any]:
    rows = [
        row | ({} if point.option is None else {"command": run_command(_run(asked, point, point.option), "estimate")})
        for point, row in zip(curve.points, curve.to_rows(), strict=True)
    ]
    return {
        "cluster": curve.cluster.id,
        "points": rows,
        "hull_gpus": [point.num_gpus for point in curve.hull],
        "beaten_gpus": [point.num_gpus for point in curve.beaten],
        "best_size_gpus": None if curve.best is None else curve.best.num_gpus,
        "halving_gpus": curve.halving_gpus,
        "halving_gpus_range": _ends(curve.halving_gpus_range),
        "halving_gpus_without_failures": curve.halving_gpus_without_failures,
        "halving_counts": {"failures": curve.counts_failures, "dollars": curve.counts_dollars},
        "elasticities_at_gpus": curve.critical.num_gpus if curve.possible else None,
        "elasticities": [vars(one) | {"plan": str(one.plan)} for one in curve.elasticities],
    }


def _ends(found: tuple[float | None, float | None] | None) -> dict[str, float | None] | None:
    """Return the halving with failures at their worse and at their better end."""
    return None if found is None else dict(zip(("worse", "better"), found, strict=True))
