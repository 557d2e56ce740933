"""``walltime measure``: what does this machine really do? A group of commands, each imported when it is asked for."""

import importlib

import click

from walltime.problems import unknown

_COMMANDS = {
    "gemm": "Matmuls, attention, memory-bound kernels and launches, on one accelerator.",
    "collectives": "All-reduce and the rest, by size and group, under torchrun or Slurm.",
    "train": "Real training steps of a model under a plan.",
    "trace": "Computation, communication and what of it is exposed, from saved traces.",
    "sweep": "Many training runs, one after another, whatever happens to one of them.",
    "check": "A plan's prediction beside its measurement, part by part.",
}


class _Commands(click.Group):
    """Imports a command's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"walltime.cli.measuring.{name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in _COMMANDS:
            raise unknown("measurement", args[0], _COMMANDS)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group("measure", cls=_Commands, short_help="What does this machine really do?")
def command() -> None:
    """Measure kernels, collectives and training steps of this machine, and look where their time goes.

    Measured rows are those that `walltime validate` and `walltime calibrate` read.
    """
