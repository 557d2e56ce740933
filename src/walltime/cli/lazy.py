"""Groups of commands whose modules are imported when they are asked for."""

import importlib
from collections.abc import Mapping
from typing import Any

import click

from walltime.problems import unknown


class LazyGroup(click.Group):
    """Commands by name, each the ``command`` of a module of its own; a slip of the pen gets the nearest name.

    Parameters
    ----------
    package
        Where the modules are.
    summaries
        What each command answers, in the order of the help.
    what
        What a name stands for, for messages.
    """

    def __init__(self, *args: Any, package: str, summaries: Mapping[str, str], what: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.package, self.summaries, self.what = package, summaries, what

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of the help."""
        return list(self.summaries)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return a command, None if there is none of this name."""
        if name not in self.summaries:
            return None
        command: click.Command = importlib.import_module(f"{self.package}.{name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command of the first argument."""
        if args and not args[0].startswith("-") and args[0] not in self.summaries:
            raise unknown(self.what, args[0], self.summaries)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self.summaries.items()))
