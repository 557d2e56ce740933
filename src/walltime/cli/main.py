"""The entry point: finds a command, runs it, and turns what goes wrong into one line and an exit code."""

import sys

import click

from walltime import __version__
from walltime.cli.lazy import LazyGroup
from walltime.problems import Problem

_COMMANDS = {
    "estimate": "How long is a step, does it fit, and where does the time go?",
    "export": "A plan as the configuration that launches it.",
    "search": "Which plan should I run, and why do the others lose?",
    "scale": "What does each added GPU, watt and dollar return?",
    "limits": "How far can training scale: end of linear scaling, latency wall.",
    "reproduce": "A paper's figures and tables, its numbers beside ours.",
    "validate": "Predicted against measured training steps, by source.",
    "measure": "What does this machine really do: kernels, collectives, training steps.",
    "calibrate": "Fit walltime to rows measured on a machine.",
    "verify": "This build against reference values.",
    "show": "What is in the catalog, and says who?",
    "bench": "How fast is this build?",
}


@click.group(
    cls=LazyGroup,
    package="walltime.cli",
    summaries=_COMMANDS,
    what="command",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="walltime")
def cli() -> None:
    """Predict how long training a large model takes and why, and how far training can scale.

    Exit codes: 0 done; 1 our bug; 2 bad input; 3 a valid question with a negative answer; 4 a missing extra or device.
    """


def main() -> None:
    """Run the command line and exit."""
    try:
        code = cli.main(standalone_mode=False, prog_name="walltime")
    except Problem as problem:
        _fail(str(problem), problem.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help())
        sys.exit(0)
    except click.exceptions.Abort:
        _fail("interrupted.", 130)
    except click.ClickException as error:
        _fail(error.format_message(), 2)
    except KeyboardInterrupt:
        _fail("interrupted.", 130)
    except SystemExit as stop:
        reader_left = type(sys.stdout).__name__.endswith("PacifyFlushWrapper")  # click's answer to a closed pipe
        sys.exit(0 if reader_left else stop.code)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> None:
    click.echo(f"walltime: {' '.join(message.split())}", err=True)
    sys.exit(code)
