"""Writing a trace and reading its parts."""

import importlib.util
from pathlib import Path

import pytest

from walltime.measure.trace import rank_traces

_BUILDERS = importlib.util.spec_from_file_location("trace_builders", Path(__file__).with_name("traces.py"))
builders = importlib.util.module_from_spec(_BUILDERS)
_BUILDERS.loader.exec_module(builders)


@pytest.fixture(scope="session")
def make():
    """The builders of traces."""
    return builders


@pytest.fixture
def shown(tmp_path):
    """What a trace of one process with these events shows."""

    def read(*events, **document):
        path = builders.written(tmp_path / "trace.json", list(events), **document)
        (found,) = rank_traces(path)
        return found

    return read
