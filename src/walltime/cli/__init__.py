"""The command line: every verb a question. This module loads nothing heavy, so that ``--help`` is quick."""

from walltime.cli.main import main

__all__ = ["main"]
