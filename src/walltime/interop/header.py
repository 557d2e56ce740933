"""What every exported file starts with: how it was made, and what to compare the first steps with."""

from walltime import __version__
from walltime.catalog import data_version
from walltime.catalog.calibrations import calibration_record
from walltime.engines.transformer import TransformerEstimate
from walltime.engines.transformer import estimate as _estimate
from walltime.engines.transformer_memory import NOT_ALLOCATED
from walltime.interop.run import Run, run_command
from walltime.plan import PlanBatch
from walltime.units import format_count, format_si, format_time


def predicted(run: Run) -> TransformerEstimate:
    """Return the estimate of a run whose plan was checked."""
    steps = 1.0 if run.tokens is None else run.tokens / run.training.batch_tokens
    plans = PlanBatch.of([run.plan])
    return _estimate(run.training, run.cluster, plans, run.stack, convention=run.convention, num_steps=steps)


_USUAL_NODE = 8  # accelerators of most hosts; larger domains join several


def header_lines(run: Run, target: str, *more: str, checked: str = "") -> list[str]:
    """Return the lines of a header.

    Parameters
    ----------
    run
        What is run; its plan was checked.
    target
        As ``--to`` has it.
    more
        Further words of the command that makes the file.
    checked
        Version of the target that the names in the file were checked against.
    """
    training, model = run.training, run.training.model
    return [
        f"Made by walltime {__version__} with data {data_version()}{_calibration(run)}; to make it again:",
        run_command(run, "export", "--to", target, *more),
        *([f"Names checked against {checked}."] if checked else []),
        f"{_one_line(model.name)}, {format_count(training.batch_seqs)} sequences of "
        f"{format_count(training.seq_len)} tokens a step, on {format_count(run.plan.num_gpus)} x "
        f"{_one_line(run.cluster.name)}, stack {run.stack.id}",
        f"plan: {run.plan}",
        *_domain_note(run),
        "Predicted; compare the first hundred steps with it, after those that warm up:",
        *prediction_lines(predicted(run)),
    ]


def _calibration(run: Run) -> str:
    own = calibration_record(run.cluster.accelerator.id)
    return "" if own is None else f" and calibration {_one_line(own.id)} {own.version} of {own.origin.date}"


def _domain_note(run: Run) -> list[str]:
    """Say where processes of a node are those of a domain that may join several hosts."""
    sizes = run.cluster.network.level_sizes
    if not sizes or sizes[0] <= _USUAL_NODE:
        return []
    return [
        f"Nodes are taken to be the {sizes[0]} accelerators that one domain joins: change it where hosts have fewer."
    ]


def prediction_lines(result: TransformerEstimate) -> list[str]:
    """Return step time, speed, utilisation and memory of the first plan of an estimate, a line each."""
    time_s, lower_s, upper_s = (format_time(float(t[0])) for t in (result.time_s, result.lower_s, result.upper_s))
    tokens_per_s, needed = float(result.tokens_per_s[0]), float(result.needed_bytes[0])
    per_accelerator = tokens_per_s / float(result.plans.num_gpus[0])
    allocated = sum(float(part[0]) for name, part in result.memory_bytes.items() if name not in NOT_ALLOCATED)
    there = format_si(float(result.memory_capacity_bytes[0]), "B", 3)
    verdict = "" if result.fits[0] else ": DOES NOT FIT"
    return [
        f"  step time  {time_s}   [lower {lower_s}, upper {upper_s}]",
        f"  tokens/s   {format_count(tokens_per_s)}, {per_accelerator:,.4g} per accelerator",
        f"  MFU        {float(result.utilization[0]):.1%} of the dense {result.plans.precision} peak, "
        f"FLOP by the convention {result.convention}",
        f"  memory     {format_si(needed, 'B', 3)} of {there} on the fullest accelerator{verdict}; "
        f"{format_si(allocated, 'B', 3)} of it allocated by the framework",
    ]


def _one_line(text: str) -> str:
    """Return a name from a file without what would end a comment."""
    return " ".join("".join(part if part.isprintable() else " " for part in text).split())
