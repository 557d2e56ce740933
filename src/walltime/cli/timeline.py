"""``--timeline``: what each pipeline stage does when, in the terminal or drawn to a file."""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from walltime.engines.timeline import Timeline
from walltime.engines.transformer import TransformerEstimate
from walltime.problems import BadInput

ON_TERMINAL = "-"
"""What ``--timeline`` means without a file."""
_DRAWING = ".svg"


def is_drawing(name: str) -> bool:
    """Whether ``--timeline`` names a file that it can draw to."""
    return name.lower().endswith(_DRAWING)


@dataclass(frozen=True)
class ShownTimeline:
    """A timeline and where it goes.

    Attributes
    ----------
    timeline
        The step.
    path
        The file that it was drawn to; None for the terminal.
    """

    timeline: Timeline
    path: Path | None

    def echo(self) -> None:
        """Print it, or where it is."""
        from walltime.report.timeline import timeline_text

        if self.path is not None:
            click.echo(f"\ntimeline: {self.path}")
            return
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        width = shutil.get_terminal_size((100, 24)).columns
        click.echo("\n" + timeline_text(self.timeline, width, colour=colour))

    def document(self) -> dict[str, Any]:
        """Return it for JSON: the simulated step, and what stages spend it on."""
        stages = range(self.timeline.plan.pp)
        return {
            "file": str(self.path) if self.path else None,
            "simulated_step_time_s": self.timeline.time_s,
            "stages": [
                {"stage": i, "begin_s": self.timeline.begin_s[i], "shares": self.timeline.shares(i)} for i in stages
            ],
        }


def asked_timeline(values: Mapping[str, Any], result: TransformerEstimate) -> ShownTimeline | None:
    """Return the timeline that was asked for, drawn to its file if one is named.

    Raises
    ------
    BadInput
        A file that is no SVG or cannot be written, or a step of too many passes.
    """
    asked = values.get("timeline")
    if asked in (None, False):
        return None
    if asked in (True, ON_TERMINAL):
        return ShownTimeline(result.timeline(), None)
    if not is_drawing(asked):
        raise BadInput(f"timeline={asked} must end in .svg. Valid: timeline.svg, or --timeline alone for the terminal.")
    path, timeline = Path(asked), result.timeline()
    _draw(path, timeline)
    return ShownTimeline(timeline, path)


def _draw(path: Path, timeline: Timeline) -> None:
    from walltime.report.timeline_svg import timeline_svg

    drawing = timeline_svg(timeline)
    try:
        path.write_text(drawing, encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        raise BadInput(f"timeline={path} cannot be written: {reason}. Valid: a file in a folder of yours.") from None
