"""The journal: what a crash tears off is one line at most, and no damage goes unseen."""

import pytest

from walltime.measure.sweep.journal import Journal, Record, line_of, record_of

RECORDS = [
    Record(
        "a1", {"num_gpus": 1}, "ok", row={"step_time_s": "0.25", "notes": 'a "quoted", örtlich\nnote'}, elapsed_s=1.5
    ),
    Record("b2", {"num_gpus": 2}, "oom", row={"status": "oom"}, result={"losses": [1.5, 0.1]}),
    Record("c3", {"num_gpus": 4}, "failed", exit_code=-9, message="killed by SIGKILL", last_lines=("one", "two")),
]
WHOLE = b"".join(map(line_of, RECORDS))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.jsonl"


def test_records_come_back_as_they_were_written(path):
    journal = Journal(path)
    for record in RECORDS:
        journal.append(record)
    assert path.read_bytes() == WHOLE
    assert list(Journal(path).records.values()) == RECORDS


def kept(offset):
    """Records of which all is there in the first bytes, but perhaps the end of the line."""
    ends = [len(b"".join(map(line_of, RECORDS[: count + 1]))) for count in range(len(RECORDS))]
    return RECORDS[: sum(offset >= end - 1 for end in ends)]


def test_torn_at_any_byte_the_whole_lines_remain(path):
    for offset in range(len(WHOLE) + 1):
        path.write_bytes(WHOLE[:offset])
        journal = Journal(path, mend=False)
        assert list(journal.records.values()) == kept(offset), offset
        rest = offset - len(b"".join(map(line_of, kept(offset))))
        assert journal.num_damaged == (rest > 0), offset


@pytest.mark.parametrize("offset", [0, 1, 80, len(line_of(RECORDS[0])) - 1, len(line_of(RECORDS[0])), len(WHOLE) - 2])
def test_a_torn_journal_is_mended_and_goes_on(path, offset):
    path.write_bytes(WHOLE[:offset])
    journal = Journal(path)
    for record in RECORDS[len(kept(offset)) :]:
        journal.append(record)
    assert path.read_bytes() == WHOLE
    assert list(Journal(path).records.values()) == RECORDS


def test_a_changed_byte_is_seen_wherever_it_is(path):
    line = line_of(RECORDS[1]).rstrip(b"\n")
    for index in range(len(line)):
        changed = line[:index] + bytes([line[index] ^ 1]) + line[index + 1 :]
        assert record_of(changed) is None, index


def test_damage_in_the_middle_is_set_aside_and_the_rest_kept(path):
    first, second, third = WHOLE.splitlines(keepends=True)
    path.write_bytes(first + second.replace(b"oom", b"ok") + third)
    looked_at = Journal(path, mend=False)
    assert looked_at.num_damaged == 1
    assert b'"ok"' in path.read_bytes()
    assert list(Journal(path).records) == ["a1", "c3"]
    assert path.read_bytes() == first + third
    assert path.with_name("journal.jsonl.damaged").read_bytes() == second.replace(b"oom", b"ok")
    assert Journal(path).num_damaged == 0


def test_the_last_record_of_a_point_counts(path):
    journal = Journal(path)
    for record in (RECORDS[2], RECORDS[1], Record("c3", {}, "ok")):
        journal.append(record)
    assert [(record.id, record.status) for record in Journal(path).records.values()] == [("c3", "ok"), ("b2", "oom")]


def test_binary_garbage_is_set_aside(path):
    path.write_bytes(b"\0" * 4096 + b"\n" + WHOLE + b"\xff\xfe[[[[")
    assert list(Journal(path).records.values()) == RECORDS
    assert path.read_bytes() == WHOLE
