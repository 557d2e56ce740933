"""A run as a TOML or JSON file that ``walltime estimate`` reads back to the same estimate."""

from pathlib import Path

from walltime.interop.header import header_lines
from walltime.interop.quoting import COMMENT_KEY, commented, json_text, toml_text
from walltime.interop.run import Run, run_values


def run_toml(run: Run, folder: Path | None = None) -> str:
    """Return a run as TOML, its prediction in front.

    Parameters
    ----------
    run
        What is run.
    folder
        Where the file will lie, as for `run_values`.
    """
    lines = [f"{key} = {toml_text(value)}\n" for key, value in run_values(run, folder).items()]
    return commented(header_lines(run, "toml")) + "".join(lines)


def run_json(run: Run, folder: Path | None = None) -> str:
    """Return a run as JSON, its prediction under ``_walltime``; ``folder`` as for `run_toml`."""
    return json_text({COMMENT_KEY: header_lines(run, "json"), **run_values(run, folder)}) + "\n"


__all__ = ["Run", "run_json", "run_toml", "run_values"]
