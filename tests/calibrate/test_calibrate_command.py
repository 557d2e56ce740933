"""`walltime calibrate` as a user runs it."""

import tomllib

import pytest
from tests.calibrate import synthetic


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The user's folder of calibrations."""
    path = tmp_path / "calibrations"
    monkeypatch.setenv("WALLTIME_CALIBRATIONS", str(path))
    return path


@pytest.fixture
def kernels(file):
    """A file of measured kernels of a processor."""
    return file("kernels.csv", synthetic.csv_of(synthetic.kernel_rows()))


@pytest.fixture
def collectives(file):
    """A file of its collectives."""
    return file("collectives.csv", synthetic.csv_of(synthetic.collective_rows()))


@pytest.fixture
def steps(file):
    """A file of training steps of some seconds."""
    rows = synthetic.training_rows()[::6]
    return file("steps.csv", synthetic.csv_of([row | {"step_time_s": 1.0 + 0.1 * i} for i, row in enumerate(rows)]))


def test_a_machine_is_calibrated_and_used(call, folder, kernels, collectives, steps):
    done = call("calibrate", kernels, collectives, steps, "--name", "my-cpu")
    assert done.code == 0
    assert done.err == ""
    written = folder / "my-cpu.toml"
    for said in (
        f"my-cpu: {synthetic.CPU_NAME}",
        "no datasheet has it",
        "matmul.fp32",
        "all_reduce (node)",
        "step time",
        "held out: halves of the points at random (seed 0)",
        "note: power was not measured.",
        f"written: {written}",
        "next: walltime show calibrations my-cpu",
    ):
        assert said in done.out
    content = tomllib.loads(written.read_text(encoding="utf-8"))
    assert content["id"] == "my-cpu"
    assert content["origin"]["command"].startswith("walltime calibrate")
    assert [each["rows"] for each in content["origin"]["files"]] == [48, 90, 6]
    assert all(len(each["sha256"]) == 64 for each in content["origin"]["files"])
    assert all(len(each["residuals"]) == each["rows"] for each in content["quality"])
    assert call(*done.out.rpartition("next: walltime ")[2].split()).code == 0
    judged = call("validate", steps, "--on", "my-cpu")
    assert judged.code == 0


def test_json_has_everything_that_the_file_has(call, kernels, tmp_path):
    out = tmp_path / "elsewhere" / "my-cpu.toml"
    done = call("calibrate", kernels, "--name", "my-cpu", "--out", out, "--holdout", "0.25", "--seed", "3", "--json")
    assert done.code == 0
    content = done.json()
    assert content["command"] == "calibrate"
    assert content["file"] == str(out)
    assert content["based_on"] is None
    parts = {each["part"]: each for each in content["quality"]}
    assert set(parts) == {"matmul.fp32", "attention.forward", "attention.backward", "memory-bound"}
    assert parts["matmul.fp32"]["held_out"].startswith("4 parts of the points at random (seed 3)")
    assert "residuals" not in parts["matmul.fp32"]
    assert content["record"]["kernels"]["matmul"]["fp32"]["values"]["num_cores"] == 1
    assert "power was not measured." in content["warnings"]
    assert tomllib.loads(out.read_text(encoding="utf-8"))["id"] == "my-cpu"


def test_rows_that_no_fit_used_are_counted(call, file):
    rows = synthetic.kernel_rows()
    product = next(row for row in rows if row["op"] == "gemm")
    attention = next(row for row in rows if row["op"] == "attention_forward")
    rows += [product | {"latency_ms": ""}, product | {"dtype": "bf16"}, attention | {"dtype": "fp64"}]
    rows += [product | {"op": "copy", "num_bytes": 1024}, product | {"op": "rmsnorm", "num_bytes": 2**25}]
    kernels = file("kernels.csv", synthetic.csv_of(rows))
    cells = [*synthetic.collective_rows(ranks=(2,)), synthetic.collective_rows()[0] | {"latency_us": ""}]
    collectives = file("collectives.csv", synthetic.csv_of(cells))
    arguments = (kernels, collectives, "--holdout", "0", "--force", "--name", "my-cpu")
    done = call("calibrate", *arguments)
    assert f"fitted on {len(rows) - 5} of {len(rows)} kernels; 45 of 46 collectives rows" in done.out
    assert "note: flash-attention-2 is fitted in fp32." in done.out
    counted = call("calibrate", *arguments, "--json").json()["rows"]
    assert counted["kernels"]["unused"] == {
        "no time": 1,
        "matmuls in bf16: fewer than 4, or no known format": 1,
        "attention in fp64: fitted in fp32": 1,
        "copies, additions and norms that a cache may hold": 1,
        "rmsnorm: a processor computes for longer than it moves": 1,
    }
    assert counted["collectives"] == {"read": 46, "used": 45, "unused": {"no time": 1}}


def test_provenance_names_the_files_that_hold_such_rows(call, file, folder):
    rows = synthetic.kernel_rows()
    products = file("products.csv", synthetic.csv_of([row for row in rows if row["op"] == "gemm"]))
    others = file("others.csv", synthetic.csv_of([row for row in rows if row["op"] != "gemm"]))
    assert call("calibrate", others, products, "--name", "my-cpu", "--holdout", "0").code == 0
    content = tomllib.loads((folder / "my-cpu.toml").read_text(encoding="utf-8"))
    assert content["accelerator"]["peak_flop_per_s"]["fp32"]["locator"] == "fp32 matmuls of products.csv"
    assert content["accelerator"]["hbm_bytes_per_s"]["locator"] == "memory-bound kernels of others.csv"
    assert content["efficiency"]["matmul_latency_s"]["locator"] == "matmuls of products.csv"


def test_the_same_rows_twice_are_refused(call, kernels, file, folder):
    copy = file("copy.csv", kernels.read_text(encoding="utf-8"))
    for again in (copy, kernels):
        said = call("calibrate", kernels, again, "--name", "my-cpu").refused()
        assert "hold the same rows. Valid: each file once." in said
    assert not folder.exists()


def test_the_same_rows_give_the_same_file(call, kernels, tmp_path):
    texts = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        out = tmp_path / folder / "my-cpu.toml"
        assert call("calibrate", kernels, "--name", "my-cpu", "--out", out).code == 0
        texts.append([line for line in out.read_text(encoding="utf-8").splitlines() if not line.startswith("command")])
    assert texts[0] == texts[1]


def test_a_calibration_is_not_replaced_unasked(call, folder, kernels):
    assert call("calibrate", kernels, "--name", "my-cpu", "--holdout", "0").code == 0
    before = (folder / "my-cpu.toml").read_bytes()
    said = call("calibrate", kernels, "--name", "my-cpu").refused()
    assert "is there already. Valid: another --name, or --force to replace it." in said
    assert (folder / "my-cpu.toml").read_bytes() == before
    again = call("calibrate", kernels, "--name", "my-cpu", "--force", "--holdout", "0")
    assert again.code == 0
    assert "no rows were held out" in again.out
    assert [path.name for path in folder.iterdir()] == ["my-cpu.toml"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Missing option '--name'"),
        (("--name", "h100-sxm"), "'h100-sxm' is the catalog's"),
        (("--name", "my cluster!"), "valid are letters, digits"),
        (("--name", "../up"), "valid are letters, digits"),
        (("--name", "my-cpu", "--holdout", "0.7"), "--holdout 0.7 must be a share from 0 (no test) to 0.5 (halves)."),
        (("--name", "my-cpu", "--holdout", "nan"), "--holdout nan must be a share"),
        (("--name", "my-cpu", "--holdout", "x"), "Invalid value for '--holdout'"),
        (("--name", "my-cpu", "--seed", "-1"), "Invalid value for '--seed'"),
        (("--name", "my-cpu", "--gpu", "h100-sxm"), "unknown --gpu 'h100-sxm'"),
        (("--name", "my-cpu", "--out", "other.toml"), "the file is called after the machine"),
    ],
)
def test_what_is_asked_wrongly_is_refused(call, folder, kernels, arguments, said):
    assert said in call("calibrate", kernels, *arguments).refused()
    assert not folder.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "its header is of no measured rows"),
        ("a,b\n1,2\n", "its header is of no measured rows. Valid are columns: op, dtype, latency_ms (kernels)"),
        ("gpu,op,dtype,latency_ms\n", "no rows in these files"),
        ("gpu,op,dtype,latency_ms\n,gemm,fp32,1\n", "column gpu is empty in some rows"),
        (
            "gpu,op,dtype,latency_ms,m,n,k\nx,gemm,fp32,-1,2,3,-4\n",
            "rows.csv:2: latency_ms=-1 is no time. Valid: more than 0",
        ),
        ("gpu,op,dtype,latency_ms\nx,gemm,fp32,0\n", "rows.csv:2: latency_ms=0 is no time"),
        ("gpu,collective,n_gpus,n_nodes,size_bytes,latency_us\nx,all_reduce,2,1,8,-2\n", "2: latency_us=-2 is no time"),
        ("gpu,op,dtype,latency_ms\nx,gemm,fp32,fast\n", "latency_ms='fast' is not a number"),
        ("gpu,op,dtype,latency_ms,m,n,k\nx,gemm,fp32,1,2,3,4\n", "no datasheet has 'x', and its matmuls were not"),
    ],
)
def test_files_of_something_else_are_refused(call, file, folder, content, said):
    assert said in call("calibrate", file("rows.csv", content), "--name", "my-cpu").refused()
    assert not folder.exists()


def test_a_folder_that_cannot_be_made_is_refused_before_the_fit(call, kernels, monkeypatch):
    monkeypatch.setenv("WALLTIME_CALIBRATIONS", "/proc/zz")
    monkeypatch.setattr("walltime.cli.calibrate.calibrate", lambda *_: pytest.fail("fitted"))
    assert "cannot write" in call("calibrate", kernels, "--name", "my-cpu").refused()


def test_a_file_that_is_not_there_is_refused(call):
    assert "cannot read" in call("calibrate", "nowhere.csv", "--name", "my-cpu").refused()


def test_training_steps_alone_do_not_make_a_processor(call, steps):
    said = call("calibrate", steps, "--name", "my-cpu").refused()
    assert "its matmuls were not measured" in said
    assert "`walltime measure gemm --csv kernels.csv`, then `walltime calibrate kernels.csv steps.csv`" in said


def test_steps_in_a_format_that_was_not_measured_are_left_out(call, kernels, file):
    rows = [row | {"precision": "bf16"} for row in synthetic.training_rows()[:2]]
    path = file("steps.csv", synthetic.csv_of(rows))
    done = call("calibrate", kernels, path, "--name", "my-cpu", "--holdout", "0")
    assert done.code == 0
    assert "2  training: my-cpu: precision=bf16 needs bf16, which the accelerator lacks. Valid: fp32." in done.out
    assert "no training steps were fitted" in done.out
