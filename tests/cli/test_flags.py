"""The flags of every command are a promise: a change to them is made here too, on purpose.

`python tests/cli/test_flags.py` writes the file anew; the diff belongs in the changelog.
"""

import json
from pathlib import Path

import click

from walltime.cli.main import cli

GOLDEN = Path(__file__).parent / "flags.json"


def flags(command=cli, name="walltime"):
    """Every command's parameters: their names, and whether they take a value or repeat."""
    context = click.Context(command)
    listed = {name: [_described(p) for p in command.params]}
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            listed |= flags(command.get_command(context, child), f"{name} {child}")
    return listed


def _described(parameter):
    if isinstance(parameter, click.Argument):
        return parameter.name.upper() + (" (repeated)" if parameter.nargs == -1 else "")
    names = [*parameter.opts, *parameter.secondary_opts]
    takes = [] if parameter.is_flag else ["VALUE"]
    return " ".join([*names, *takes, *(["(repeated)"] if parameter.multiple else [])])


def test_flags_are_those_that_were_promised():
    assert flags() == json.loads(GOLDEN.read_text(encoding="utf-8"))


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(flags(), indent=2) + "\n", encoding="utf-8")
