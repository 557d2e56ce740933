"""From a sweep's file to its points: every combination once, degrees that multiply, and reasons for the rest."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walltime.measure.sweep.expansion import expand
from walltime.measure.sweep.flags import Flag, train_arguments
from walltime.measure.sweep.sweep_file import Sweep, Table, read_sweep
from walltime.problems import BadInput

FLAGS = {
    flag.name: flag
    for flag in (
        *(Flag(name, "whole", f"--{name.replace('_', '-')}") for name in ("seq_len", "batch", "layers", "steps")),
        *(Flag(name, "whole", f"--{name.replace('_', '-')}") for name in ("cp", "dp", "pp", "micro_batch")),
        Flag("tp", "text", "--tp"),
        Flag("sharding", "text", "--sharding"),
        Flag("share", "number", "--share"),
        Flag("reshard", "yes-no", "--reshard", "--no-reshard"),
        Flag("compile", "yes-no", "--compile"),
        Flag("set", "text", "--set", is_list=True),
    )
}
BASE = '[base]\nmodel = "llama-2-7b"\nseq_len = 128\nbatch = 8\n'


def anything(options, num_gpus):
    """No objection."""


def read(file, text, name="SWEEP.toml"):
    return read_sweep(file(name, text), FLAGS)


def points(file, text):
    return expand(read(file, text), anything).points


def shown(found, *names):
    return [tuple(point.options.get(name) for name in names) for point in found]


def test_weak_scaling_fixes_the_batch_of_a_rank(file):
    found = points(file, BASE + '[[sweep]]\nkind = "weak"\ngpus = [2, 4, 8]\ntp = 2\nlocal_batch = 4')
    assert [point.num_gpus for point in found] == [2, 4, 8]
    assert shown(found, "tp", "dp", "batch") == [(2, 1, 4), (2, 2, 8), (2, 4, 16)]


def test_strong_scaling_fixes_the_batch_of_a_step(file):
    found = points(file, BASE + '[[sweep]]\nkind = "strong"\ngpus = [1, 2, 4]\nbatch = 16')
    assert shown(found, "dp", "batch") == [(1, 16), (2, 16), (4, 16)]


def test_model_parallel_is_every_split_of_the_processes(file):
    found = points(file, BASE + '[[sweep]]\nkind = "model-parallel"\ngpus = 12')
    degrees = [tuple(int(degree or 1) for degree in each) for each in shown(found, "tp", "pp", "dp")]
    assert sorted(degrees) == sorted(
        (tp, pp, 12 // tp // pp) for tp in range(1, 13) for pp in range(1, 13) if 12 % (tp * pp) == 0
    )


def test_lists_limit_the_splits_and_what_does_not_divide_is_said(file):
    text = BASE + '[[sweep]]\nkind = "model-parallel"\ngpus = 8\ntp = [1, 3]\npp = [1, 2, 8]'
    found = expand(read(file, text), anything)
    assert shown(found.points, "pp") == [(None,), (2,), (8,)]
    assert [each.reason for each in found.left_out] == [
        "tp=3 x pp=1, 3, does not divide gpus=8.",
        "tp=3 x pp=2, 6, does not divide gpus=8.",
        "tp=3 x pp=8, 24, does not divide gpus=8.",
    ]


def test_a_grid_is_the_product_of_its_lists_in_their_order(file):
    text = BASE + '[[sweep]]\nkind = "grid"\nsharding = ["ddp", "zero3"]\nseq_len = [64, 128]\ndp = 2'
    found = points(file, text)
    assert shown(found, "sharding", "seq_len") == [("ddp", 64), ("ddp", 128), ("zero3", 64), ("zero3", 128)]
    assert {point.num_gpus for point in found} == {2}


def test_identical_points_of_several_tables_run_once(file):
    tables = (
        '[[sweep]]\nkind = "strong"\ngpus = [1, 2]\nbatch = 8\n[[sweep]]\nkind = "weak"\ngpus = [1, 2]\nlocal_batch = 8'
    )
    found = points(file, BASE + tables)
    assert [(point.num_gpus, point.options["batch"], point.tables) for point in found] == [
        (1, 8, ("strong 1", "weak 2")),
        (2, 8, ("strong 1",)),
        (2, 16, ("weak 2",)),
    ]


def test_what_the_plan_forbids_is_left_out_with_the_reason(file):
    def check(options, num_gpus):
        if num_gpus == 4:
            raise BadInput("four is unlucky.")

    found = expand(read(file, BASE + '[[sweep]]\nkind = "strong"\ngpus = [2, 4]'), check)
    assert [point.num_gpus for point in found.points] == [2]
    assert [(each.table, each.reason) for each in found.left_out] == [("strong", "four is unlucky.")]


def test_if_all_is_left_out_the_first_reason_is_the_answer(file):
    with pytest.raises(BadInput, match=r"tp=3 does not divide gpus=4. \(the first of 2 points, all left out\)"):
        points(file, BASE + '[[sweep]]\nkind = "grid"\ngpus = [4, 8]\ntp = 3')


def test_repetitions_come_after_all_points_and_have_ids_of_their_own(file):
    text = "repeat = 2\n" + BASE + '[[sweep]]\nkind = "strong"\ngpus = [1, 2]'
    found = points(file, text)
    assert [(point.num_gpus, point.repeat) for point in found] == [(1, 0), (2, 0), (1, 1), (2, 1)]
    assert len({point.id for point in found}) == 4
    once = points(file, text.replace("repeat = 2\n", ""))
    assert [point.id for point in once] == [point.id for point in found[:2]]


def test_orders(file):
    table = '[[sweep]]\nkind = "strong"\ngpus = [4, 1, 2]'
    assert [p.num_gpus for p in points(file, BASE + table)] == [4, 1, 2]
    assert [p.num_gpus for p in points(file, 'order = "smallest-first"\n' + BASE + table)] == [1, 2, 4]
    shuffled = points(file, 'order = "shuffled"\n' + BASE + table)
    assert sorted(p.num_gpus for p in shuffled) == [1, 2, 4]
    assert shuffled == points(file, 'order = "shuffled"\n' + BASE + table)


def test_an_id_is_of_what_is_asked_not_of_how_it_is_said(file):
    one = points(file, BASE + '[[sweep]]\nkind = "grid"\ngpus = 2\ntp = 1\npp = 1\nset = "a=1"')
    two = points(file, BASE + '[[sweep]]\nkind = "grid"\ndp = 2\nmicro_batch = 1\nset = ["a=1"]')
    assert [point.id for point in one] == [point.id for point in two] == ["f942b117947a"]
    other = points(file, BASE + '[[sweep]]\nkind = "grid"\ndp = 2\nset = "a=2"')
    assert other[0].id != one[0].id


def test_cores_of_a_process_are_part_of_what_is_asked(file):
    text = BASE + '[[sweep]]\nkind = "grid"\ngpus = 2\n'
    (free,), (kept,) = points(file, text), points(file, text + "cores_per_process = 3")
    assert (free.num_cores, kept.num_cores) == (None, 6)
    assert free.id != kept.id
    assert free.options == kept.options
    again = points(file, "repeat = 2\n" + text + "cores_per_process = 3")
    assert [point.num_cores for point in again] == [6, 6]
    assert again[0].id == kept.id


def test_a_model_in_a_file_counts_by_its_content(file, tmp_path):
    text = '[base]\nmodel = "m.toml"\nbatch = 1\n[[sweep]]\nkind = "grid"\ngpus = [1]'
    file("m.toml", "a = 1")
    before = points(file, text)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "m.toml").write_text("a = 1")
    (tmp_path / "elsewhere" / "S.toml").write_text(text)
    moved = expand(read_sweep(tmp_path / "elsewhere" / "S.toml", FLAGS), anything).points
    file("m.toml", "a = 2")
    changed = points(file, text)
    assert before[0].id == moved[0].id != changed[0].id
    assert moved[0].options["model"] == str(tmp_path / "elsewhere" / "m.toml")


def test_arguments(file):
    text = BASE.replace(
        "batch = 8\n", 'batch = 8\nreshard = false\ncompile = false\nshare = 0.5\nset = ["a=1", "b=2"]\n'
    )
    (point,) = points(file, text + '[[sweep]]\nkind = "grid"\ngpus = 2')
    assert train_arguments(FLAGS, point.options) == [
        *("measure", "train", "llama-2-7b", "--batch=8", "--dp=2", "--no-reshard", "--seq-len=128", "--set=a=1"),
        *("--set=b=2", "--share=0.5"),
    ]


lists = st.lists(st.sampled_from([1, 2, 3, 4, 6, 8]), min_size=1, max_size=4, unique=True)


@given(lists, lists, lists, lists, st.sampled_from(["batch", "local_batch"]), st.integers(1, 3))
def test_degrees_multiply_and_nothing_is_lost(gpus, tp, pp, cp, kind, repeat):
    axes = {"gpus": gpus, "tp": [str(d) for d in tp], "pp": pp, "cp": cp, kind: [4, 24]}
    sweep = Sweep(Path("S.toml"), {"model": "m"}, [Table("grid", "grid", {}, axes)], repeat=repeat)
    combinations = len(gpus) * len(tp) * len(pp) * len(cp) * 2
    try:
        found = expand(sweep, anything)
    except BadInput:
        assert all(n % (a * b * c) for n in gpus for a in tp for b in pp for c in cp)
        return
    assert len(found.points) + len(found.left_out) * repeat == combinations * repeat
    assert len({point.id for point in found.points}) == len(found.points)
    for point in found.points:
        degrees = [int(point.options.get(name, 1)) for name in ("tp", "pp", "cp", "dp")]
        assert degrees[0] * degrees[1] * degrees[2] * degrees[3] == point.num_gpus
        if kind == "local_batch":
            assert point.options["batch"] // point.options["dp"] in (4, 24)
    assert expand(replace(sweep, order="shuffled"), anything).left_out == found.left_out


WRONG = {
    "": r"no points. Valid: one or more tables \[\[sweep]] with kind = weak or strong or model-parallel or grid.",
    'seq_len = 4\n[[sweep]]\nkind = "grid"': "unknown field 'seq_len'.* Fields of every point stand under",
    "sweep = 3": "no points",
    '[[sweep]]\nkind = "weeak"': "sweep: unknown kind 'weeak'. Did you mean 'weak'?",
    "[[sweep]]\ngpus = [1]": "sweep: no kind. Valid: weak, strong",
    '[[sweep]]\nkind = "grid"\nseq_length = [1]': "unknown field 'seq_length'. Did you mean 'seq_len'?",
    '[[sweep]]\nkind = "grid"\nseq_len = ["a"]': "sweep: seq_len='a' must be a whole number.",
    '[[sweep]]\nkind = "grid"\nseq_len = []': r"seq_len=\[\] is empty",
    '[[sweep]]\nkind = "grid"\nseq_len = true': "seq_len=True must be a whole number",
    '[[sweep]]\nkind = "grid"\ngpus = [0]': "gpus=0 must be a whole number of at least 1",
    '[[sweep]]\nkind = "grid"\nmodel = 7': "model=7 must be text",
    '[[sweep]]\nkind = "grid"\nreshard = "yes"': "reshard='yes' must be true or false",
    '[[sweep]]\nkind = "weak"\ngpus = [1]\nlocal_batch = [1, 2]': "local_batch=.* is a list. Valid for kind=weak",
    '[[sweep]]\nkind = "weak"\ngpus = [1]\nbatch = 4': "batch does not go with kind=weak",
    '[[sweep]]\nkind = "strong"\ngpus = [1]\nlocal_batch = 4': "local_batch does not go with kind=strong",
    '[[sweep]]\nkind = "strong"\ngpus = 1': "gpus is not a list. Valid for kind=strong",
    '[[sweep]]\nkind = "model-parallel"\ngpus = [1]': r"gpus=\[1\] is a list. Valid for kind=model-parallel",
    '[[sweep]]\nkind = "model-parallel"': "gpus is not given",
    '[[sweep]]\nkind = "grid"\ngpus = [1]': "model is not given",
    '[base]\nmodel = "m"\n[[sweep]]\nkind = "grid"\ngpus = [1]': "batch is not given",
    '[base]\nmodel = "m"\n[[sweep]]\nkind = "weak"\ngpus = [1]': "batch is not given",
    '[base]\nmodel = "m"\nbatch = 1\n[[sweep]]\nkind = "grid"\ntp = "x"': "tp='x' must be a whole number of at least 1",
    'timeout = "10"\n[[sweep]]\nkind = "grid"': "timeout='10' has no unit",
    'retries = -1\n[[sweep]]\nkind = "grid"': "retries=-1 must be a whole number from 0 to 100",
    'repeat = 0\n[[sweep]]\nkind = "grid"': "repeat=0 must be",
    'order = "random"\n[[sweep]]\nkind = "grid"': "unknown order 'random'",
    "base = 3": "base=3 must be a table",
    "[base]\nbatch = [1, 2]": r"base.batch=\[1, 2\] must be a whole number",
    "[base\n": "SWEEP.toml",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_with_a_file_is_said(file, text):
    with pytest.raises(BadInput, match=WRONG[text]) as problem:
        points(file, text)
    assert "\n" not in str(problem.value)


def test_a_slip_that_makes_millions_of_points_is_refused(file):
    many = ", ".join(map(str, range(1, 400)))
    text = f'[base]\nmodel = "m"\n[[sweep]]\nkind = "grid"\nseq_len = [{many}]\nbatch = [{many}]'
    with pytest.raises(BadInput, match="more than 100,000 points"):
        points(file, text)
