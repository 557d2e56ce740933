"""``walltime measure``: what does this machine really do? A group of commands, each imported when it is asked for."""

import click

from walltime.cli.lazy import LazyGroup

_COMMANDS = {
    "gemm": "Matmuls, attention, memory-bound kernels and launches, on one accelerator.",
    "collectives": "All-reduce and the rest, by size and group, under torchrun or Slurm.",
    "train": "Real training steps of a model under a plan.",
    "trace": "Computation, communication and what of it is exposed, from saved traces.",
    "sweep": "Many training runs, one after another, whatever happens to one of them.",
    "check": "A plan's prediction beside its measurement, part by part.",
}


@click.group(
    "measure",
    cls=LazyGroup,
    package="walltime.cli.measuring",
    summaries=_COMMANDS,
    what="measurement",
    short_help="What does this machine really do?",
)
def command() -> None:
    """Measure kernels, collectives and training steps of this machine, and look where their time goes.

    Measured rows are those that `walltime validate` and `walltime calibrate` read.
    """
