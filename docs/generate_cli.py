"""Write docs/reference/cli.md from the commands themselves: ``python docs/generate_cli.py``.

A test compares the page with what this would write.
"""

from collections.abc import Iterator
from pathlib import Path

import click

from walltime.cli.main import cli

PAGE = Path(__file__).parent / "reference" / "cli.md"
WIDTH = 88

INTRODUCTION = """\
<!-- Written by docs/generate_cli.py; do not edit. -->

# Command line

Every command prints its result on standard output; notes and progress go to standard error. `--json` prints one
document instead, with units in its keys, the resolved inputs and the version of the data. A run's TOML file has the
long flags as keys (`batch_law = "none"`), and a flag that is given overrides the file.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | a bug of walltime |
| 2 | bad input: one line names the field, the value and what would be valid |
| 3 | a valid question with a negative answer: does not fit, no cluster finishes in time, outside tolerance |
| 4 | a missing extra or device |
"""


def commands() -> Iterator[tuple[click.Context, click.Command]]:
    """Every command with its context, groups before their members."""
    settings = {"terminal_width": WIDTH, "max_content_width": WIDTH, "help_option_names": ["-h", "--help"]}
    yield from _walk(click.Context(cli, info_name="walltime", **settings), cli)


def _walk(context: click.Context, command: click.Command) -> Iterator[tuple[click.Context, click.Command]]:
    yield context, command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            member = command.get_command(context, name)
            yield from _walk(
                click.Context(member, info_name=name, parent=context, terminal_width=WIDTH, max_content_width=WIDTH),
                member,
            )


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for context, command in commands():
        level = "##" if context.parent is None or context.parent.parent is None else "###"
        parts.append(f"{level} {context.command_path}\n\n```text\n{command.get_help(context).rstrip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
