"""Records as TOML: whatever is written reads back as the same."""

import datetime
import math
import tomllib

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from walltime.calibrate.machine.toml import record_toml


class Content(msgspec.Struct):
    """A record that holds anything."""

    values: dict


SCALARS = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
    | st.dates()
)
KEYS = st.text('ab.c -é"', min_size=1)
NESTED = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(SCALARS, min_size=1, max_size=3)
        | st.lists(st.dictionaries(KEYS, inner, min_size=1, max_size=3), min_size=1, max_size=3)
        | st.dictionaries(KEYS, inner, min_size=1, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text('ab.c -é"\n', min_size=1), NESTED, min_size=1, max_size=4))
def test_what_is_written_reads_back(values):
    assert tomllib.loads(record_toml(Content(values))) == {"values": values}


def test_what_is_not_known_is_left_out():
    values = {
        "none": None,
        "text": "",
        "list": [],
        "table": {"none": None},
        "some": [1, None, 2],
        "no": False,
        "zero": 0,
    }
    assert tomllib.loads(record_toml(Content(values)))["values"] == {"some": [1, 2], "no": False, "zero": 0}


def test_numbers_stand_on_a_line_of_their_own():
    values = {
        "rate": {"value": 1.5e12, "kind": "measured"},
        "limit": {"value": math.inf},
        "day": datetime.date(2026, 1, 2),
    }
    text = record_toml(Content(values))
    assert 'rate = { value = 1500000000000.0, kind = "measured" }' in text.splitlines()
    assert "limit = { value = inf }" in text.splitlines()
    assert "day = 2026-01-02" in text.splitlines()
