"""Reading measured rows: what is read, and what is refused with its place, field, value and what would be valid."""

import csv

import pytest

from walltime.problems import BadInput
from walltime.validate.measured import COLUMNS, contradiction, read_measured, shipped_files

SHIPPED = shipped_files()


def test_every_shipped_file_reads_strictly_and_whole():
    assert len(SHIPPED) == 14
    for path in SHIPPED:
        with path.open(encoding="utf-8", newline="") as file:
            printed = list(csv.DictReader(file))
        rows = read_measured(path)
        assert len(rows) == len(printed)
        for row, cells in zip(rows, printed, strict=True):
            assert row.other == {}
            for name in ("n_layers", "n_gpus", "tp", "step_time_s", "mem_gb", "mfu"):
                assert getattr(row, name) == (float(cells[name]) if cells[name] else None)
            assert row.source_id == cells["source_id"]


def test_a_row_is_read_with_its_types(csv_file):
    path = csv_file({"n_gpus": "64.0", "mfu": "0.45", "sequence_parallel": "True", "notes": "a, b", "status": "OK"})
    (row,) = read_measured(path)
    assert (row.n_gpus, row.mfu, row.sequence_parallel, row.notes, row.status) == (64, 0.45, True, "a, b", "ok")
    assert row.place == f"{path}:2"
    assert row.vpp is None
    assert row.scope == "core"


def test_the_optional_columns_may_be_absent(csv_file):
    (row,) = read_measured(csv_file(drop=("status", "scope", "quality", "gpu_canonical", "notes", "vpp")))
    assert (row.status, row.scope, row.gpu_canonical) == ("", "core", "")


def test_spellings_of_the_same_thing(csv_file):
    rows = read_measured(
        csv_file(
            {"activation_recompute": "every_layer", "sharding": "FSDP", "precision": "BFloat16"},
            {"activation_recompute": "disabled", "sharding": "none", "precision": "nan", "n_experts": "0"},
        )
    )
    assert [(r.activation_recompute, r.sharding, r.precision) for r in rows] == [
        ("full", "zero3", "bf16"),
        ("none", "ddp", ""),
    ]
    assert rows[1].n_experts is None


def test_unknown_columns_become_words_of_the_row(csv_file):
    path = csv_file(header=[*COLUMNS, "kernel"])
    text = path.read_text().splitlines()
    path.write_text(f"{text[0]}\n{text[1]}flash_attn2\n")
    (row,) = read_measured(path)
    assert row.other == {"kernel": "flash_attn2"}
    assert "kernel=flash_attn2" in row.text


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"n_gpus": "-8"}, ("n_gpus", "'-8'", "positive")),
        ({"n_gpus": "many"}, ("n_gpus", "'many'", "not a number")),
        ({"tp": "1.5"}, ("tp", "'1.5'", "whole")),
        ({"step_time_s": "inf"}, ("step_time_s", "'inf'", "finite")),
        ({"step_time_s": "0"}, ("step_time_s", "'0'", "positive")),
        ({"mfu": "45"}, ("mfu=45", "0.45")),
        ({"sequence_parallel": "perhaps"}, ("sequence_parallel", "'perhaps'")),
        ({"precision": "bf61"}, ("precision", "'bf61'", "Did you mean 'bf16'")),
        ({"status": "ook"}, ("status", "'ook'", "oom")),
        ({"sharding": "zero4"}, ("sharding", "'zero4'", "zero")),
    ],
)
def test_a_bad_cell_is_named_with_its_place(csv_file, changed, words):
    path = csv_file({}, changed)
    with pytest.raises(BadInput) as problem:
        read_measured(path)
    message = str(problem.value)
    assert message.startswith(f"{path}:3: ")
    assert "\n" not in message
    for word in words:
        assert word in message, message


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"dp": 5}, ("dp=5", "n_gpus=64", "Valid: dp=16")),
        ({"tp": 3, "dp": None}, ("n_gpus=64", "multiple of 6", "tp=3", "Nearest: 66")),
        ({"cp": 2}, ("dp=16", "Valid: dp=8")),
        ({"global_batch_seqs": 2050}, ("global_batch_seqs=2050", "multiple of 16", "Nearest: 2048")),
        ({"micro_batch": 3}, ("global_batch_seqs=2048", "multiple of 48", "Nearest: 2064")),
        ({"n_heads": 41, "n_kv_heads": None}, ("tp=2", "n_heads=41", "Nearest: 1")),
        ({"n_kv_heads": 6}, ("n_kv_heads=6", "n_heads=40", "Nearest: 5")),
        ({"n_experts": 8, "ep": 16, "top_k": 2}, ("ep=16", "n_experts=8", "Nearest: 8")),
        ({"n_experts": 2, "top_k": 4}, ("top_k=4", "n_experts")),
        ({"pp": 32, "tp": 1, "dp": 2, "n_layers": 4}, ("pp=32", "n_layers")),
        ({"ep": 2}, ("ep=2", "experts", "Valid: 1")),
        ({"ep": 2, "n_experts": 0}, ("ep=2", "experts")),
        ({"vpp": 2, "pp": 1, "dp": 32}, ("vpp=2", "pp is 1", "Valid: 1")),
        ({"gpu_canonical": "H100-80GB"}, ("gpu='A100-80GB'", "gpu_canonical='H100-80GB'")),
    ],
)
def test_contradictory_degrees_are_refused_unless_read_in_bulk(csv_file, changed, words):
    path = csv_file({}, changed)
    with pytest.raises(BadInput) as problem:
        read_measured(path)
    for word in (f"{path}:3: ", *words):
        assert word in str(problem.value)
    assert contradiction(read_measured(path, strict=False)[1])


@pytest.mark.parametrize(
    "changed",
    [
        {"vpp": 2},
        {"ep": 2, "n_experts": 8, "top_k": 2},
        {"ep": 2, "d_ff": None},
        {"gpu_canonical": "A100-40GB"},
        {"gpu": "A800", "gpu_canonical": "A100-80GB"},
        {"gpu": "GB200", "gpu_canonical": "B200"},
        {"gpu_canonical": "some other name"},
        {"gpu": "in-house", "gpu_canonical": "H100-80GB"},
    ],
)
def test_what_may_be_meant_is_no_contradiction(row, changed):
    assert contradiction(row(**changed)) == ""


def test_a_run_out_of_memory_may_print_zeros(csv_file):
    (row,) = read_measured(csv_file({"status": "oom", "step_time_s": "0", "mfu": "0.0"}))
    assert (row.status, row.step_time_s, row.mfu) == ("oom", None, None)


def test_a_slip_in_a_column_is_named(csv_file):
    names = [name if name != "micro_batch" else "microbatch" for name in COLUMNS]
    with pytest.raises(BadInput, match=r"unknown column 'microbatch'. Did you mean 'micro_batch'"):
        read_measured(csv_file(header=names))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'model_name'"),
        ("model_name,gpu,n_gpus,seq_len\n", "no column 'global_batch_seqs'"),
        ("model_name,gpu,n_gpus,seq_len,global_batch_seqs\n", "no rows"),
        ("model_name,gpu,n_gpus,n_gpus,seq_len,global_batch_seqs\n", "'n_gpus' stands there twice"),
        ("model_name,gpu,n_gpus,seq_len,global_batch_seqs\na,b,c\n", ":2: 3 cells under 5 columns"),
        ('model_name,gpu,n_gpus,seq_len,global_batch_seqs\n"a\n', "not a row of CSV"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path, text, message):
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(BadInput) as problem:
        read_measured(path)
    assert message in str(problem.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(BadInput, match="cannot read"):
        read_measured(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="UTF-8"):
        read_measured(tmp_path / "bytes.csv")
