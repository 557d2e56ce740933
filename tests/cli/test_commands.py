"""Each command as a user runs it: exit codes, what goes to which stream, pure JSON."""

import csv
import io
import json
import math
import re
from pathlib import Path

import pytest

from walltime import __version__
from walltime.catalog import data_version
from walltime.cli.main import cli
from walltime.plan import DEGREES

DATA = Path(__file__).parents[1] / "data" / "erdil2024"
SHORT = ("--to", "1e26")  # a curve of a few runs
COMMANDS = ["estimate", "limits", "reproduce", "verify", "show", "bench"]
ESTIMATE = ("estimate", "mlp-12288", "--on", "2048xh100-sxm")
PLANNED = (*ESTIMATE, "--tp-model=4", "--tp-ff=8", "--pp=64", "--schedule=zero-bubble")


def test_help_names_every_command(walltime):
    result = walltime("--help")
    assert result.code == 0
    assert result.err == ""
    assert [name for name in COMMANDS if not re.search(rf"^  {name} ", result.out, re.MULTILINE)] == []
    assert "0 done; 1 our bug; 2 bad input; 3 a valid question with a negative answer" in " ".join(result.out.split())


@pytest.mark.parametrize("name", [*COMMANDS, "verify matmul", "verify step", "verify frontier"])
def test_each_command_has_help_with_every_option(call, name):
    result = call(*name.split(), "--help")
    assert result.code == 0
    assert result.out.startswith(f"Usage: walltime {name}")
    command = cli
    for part in name.split():
        command = command.get_command(None, part)
    for parameter in command.params:
        if parameter.param_type_name == "option":
            assert parameter.opts[0] in result.out
            assert parameter.help, parameter.name


def test_version(call):
    result = call("--version")
    assert (result.code, result.err) == (0, "")
    assert __version__ in result.out


def test_without_a_command_there_is_help(walltime):
    result = walltime()
    assert result.code == 0
    assert result.out.startswith("Usage: walltime")


def test_limits(walltime):
    result = walltime("limits", "--on", "h100-sxm")
    assert (result.code, result.err) == (0, "")
    for said in ("2.05e28 FLOP", "2.71e31 FLOP", "5.08e31 FLOP", "Linear scaling ends", "Latency wall", "next: "):
        assert said in result.out
    assert not re.search(r"\b(nan|inf)\b", result.out)


def test_estimate(walltime):
    result = walltime(*ESTIMATE)
    assert (result.code, result.err) == (0, "")
    for said in ("step time", "utilisation", "where the time goes", "fits", "largest part: matmuls", "next: walltime"):
        assert said in result.out
    assert not re.search(r"\b(nan|inf)\b", result.out)


@pytest.mark.parametrize("what", ["matmul", "step", "frontier"])
def test_verify(walltime, what):
    result = walltime("verify", what, DATA / f"{what}.jsonl")
    assert (result.code, result.err) == (0, "")
    assert "all within tolerance" in result.out


def test_verify_takes_many_files(call):
    curves = sorted((DATA / "corrected").glob("*H100*.csv"))
    result = call("verify", "frontier", *curves, "--json")
    assert result.code == 0
    assert [Path(f["file"]) for f in result.json()["files"]] == curves


def test_verify_of_a_wrong_row_ends_with_3(walltime, file):
    lines = (DATA / "matmul.jsonl").read_text().splitlines()[:20]
    row = json.loads(lines[6])
    row["seconds"] *= 1.01
    path = file("wrong.jsonl", "\n".join([*lines[:6], json.dumps(row), *lines[7:]]))
    result = walltime("verify", "matmul", path, "--json")
    assert "1 of 20 rows" in result.refused(code=3)
    (checked,) = result.json()["files"]
    assert checked["passed"] is False
    assert checked["worst"]["line"] == 7
    assert walltime("verify", "matmul", path, "--tolerance", "0.02").code == 0


def test_verify_counts_each_row_once(call, file):
    header = "d_model,training_flop,months,utilization,n_gpu\n"
    path = file("head__H100.dense.def.0.25.csv", f"{header}12288,1e24,1,0.5,100\n")
    outside, of = re.match(r"(\d+) of (\d+) rows", call("verify", "frontier", path).refused(code=3)).groups()
    assert int(outside) <= int(of)


def test_a_deadline_that_nothing_meets_ends_with_3(walltime):
    result = walltime("limits", "--on", "h100-sxm", "--duration", "1s")
    assert "no cluster of any size finishes even the smallest run" in result.refused(code=3)


def test_a_plan_that_does_not_fit_ends_with_3_and_shows_its_estimate(call):
    result = call("estimate", "mlp-12288", "--on", "8xh100-sxm", "--dp", "8", "--json")
    assert "does not fit" in result.refused(code=3)
    document = result.json()
    assert document["fits"] is False
    assert sum(document["memory_bytes_per_gpu"].values()) > document["memory_capacity_bytes_per_gpu"] == 80e9


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("mlp-12288", "--on", "8xh100-sxm"), "does not fit: .* need 2.319 TB; 8 accelerators have 640 GB"),
        (("mlp-12288", "--on", "4099xh100-sxm"), "4,099 accelerators.* nearest smaller cluster with one has 4,096"),
    ],
)
def test_a_cluster_without_a_plan_ends_with_3(call, args, said):
    result = call("estimate", *args)
    assert re.search(said, result.refused(code=3))
    assert result.out == ""
    result = call("estimate", *args, "--json")
    assert re.search(said, result.refused(code=3))
    document = result.json()
    assert (document["plan"], document["fits"]) == (None, False)
    assert document["reason"] == result.err.removeprefix("walltime: ").rstrip("\n")
    assert document["inputs"]["model"]["d_model"] == 12288


@pytest.mark.parametrize("line", ["show h100-sxm", "limits --csv", "limits --json", "--help"])
def test_a_reader_that_stops_early_is_no_error(reader_that_stops, line):
    assert reader_that_stops(*line.split()) == (0, "")


def numbers_in(value, path="$"):
    if isinstance(value, dict):
        for name, item in value.items():
            yield from numbers_in(item, f"{path}.{name}")
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from numbers_in(item, f"{path}[{i}]")
    elif isinstance(value, float):
        yield path, value


JSON = {
    "limits": ("limits", "--on", "h100-sxm", *SHORT),
    "limits, infinite bandwidth": ("limits", "--on", "h100-sxm-infinite-network-low-latency", *SHORT),
    "limits, nothing feasible": ("limits", "--duration", "1s"),
    "limits, datasheet": ("limits", "--on", "mi300x", *SHORT),
    "estimate": ESTIMATE,
    "estimate, planned": PLANNED,
    "estimate, infinite bandwidth": ("estimate", "mlp-12288", "--on", "2048xINF"),
    "verify": ("verify", "matmul", DATA / "matmul.jsonl"),
    "show": ("show",),
    "show accelerators": ("show", "accelerators"),
    "show h100-sxm": ("show", "h100-sxm"),
    "show constants": ("show", "constants"),
    "reproduce": ("reproduce", "erdil2024", "--mode", "as_published", "--workers", "1"),
}


@pytest.mark.parametrize("name", JSON)
def test_json_is_one_document_with_what_it_stands_on(call, name):
    result = call(*JSON[name], "--json")
    assert result.code == (3 if "nothing feasible" in name else 0)
    document = result.json()
    assert document["walltime"] == __version__
    assert document["command"].split()[0] == JSON[name][0]
    assert document["data_version"] == data_version()
    assert isinstance(document["inputs"], dict)
    assert all(isinstance(warning, str) for warning in document["warnings"])
    assert all(math.isfinite(value) for _, value in numbers_in(document))
    assert result.err == "" or result.code == 3


def test_json_of_a_process_is_pure(walltime):
    result = walltime(*ESTIMATE, "--json")
    assert (result.code, result.err) == (0, "")
    document = result.json()
    assert math.fsum(document["parts_s"].values()) == pytest.approx(document["step_time_s"], rel=1e-12)
    assert document["lower_s"] <= document["step_time_s"] <= document["upper_s"]
    assert document["plan"]["searched"] is True
    degrees = [d for name in DEGREES for d in document["plan"][name]]
    assert math.prod(degrees) == document["inputs"]["num_gpus"] == 2048


def test_json_of_limits_answers_with_both_thresholds(call):
    document = call("limits", "--on", "h100-sxm", "--json").json()
    end, wall = document["linear_scaling_end"], document["latency_wall"]
    assert end["first_crossing_flop"] == pytest.approx(2.05e28, rel=0.003)
    assert wall["last_feasible_flop"] == pytest.approx(2.71e31, rel=0.003)
    assert end["first_crossing_flop"] <= end["last_crossing_flop"] <= wall["first_infeasible_flop"]
    runs = document["runs"]
    assert [run["training_flop"] for run in runs] == sorted(run["training_flop"] for run in runs)
    for run in runs:
        assert run["run_time_s"] < document["inputs"]["deadline_s"]
        assert run["dp"] * run["tp_model"] * run["tp_ff"] * run["pp"] * run["ep"] == run["num_gpus"]


def test_csv_is_the_curve_of_the_json(call):
    rows = list(csv.DictReader(io.StringIO(call("limits", *SHORT, "--csv").out)))
    runs = call("limits", *SHORT, "--json").json()["runs"]
    assert len(rows) == len(runs) > 2
    assert list(rows[0]) == list(runs[0])
    assert [row["training_flop"] for row in rows] == [repr(run["training_flop"]) for run in runs]


def test_a_plan_found_can_be_given(call):
    """The best plan, written out degree by degree, is estimated the same."""
    found = call(*ESTIMATE, "--json").json()
    plan = found["plan"]
    flags = [f"--{name.replace('_', '-')}={','.join(map(str, plan[name]))}" for name in DEGREES]
    flags += [f"--microbatches={plan['num_microbatches']}", f"--schedule={plan['schedule']}"]
    given = call(*ESTIMATE, *flags, "--json").json()
    assert given["plan"] == plan | {"searched": False}
    for name in ("step_time_s", "parts_s", "busy_s", "utilization"):
        assert given[name] == found[name]


def test_degrees_without_levels_are_placed_as_fast_as_any_placement(call):
    unplaced = call(*PLANNED, "--json").json()
    placed = [
        call(*ESTIMATE, *f"--tp-model {m} --tp-ff {f} --pp {p} --schedule zero-bubble".split(), "--json").json()
        for m, f, p in (("4,1", "2,4", "1,64"), ("1,4", "8,1", "1,64"), ("1,4", "1,8", "8,8"))
    ]
    assert all(unplaced["step_time_s"] <= other["step_time_s"] for other in placed)


WHAT_IFS = {
    "network.latency=0.5x": ("network_levels", 0, "latency_s", 0.5625e-6),
    "network.inter.bandwidth=400Gb/s": ("network_levels", 1, "bytes_per_s", 50e9),
    "network.infiniband.bandwidth=2x": ("network_levels", 1, "bytes_per_s", 100e9),
    "network.nvlink.size=72": ("network_levels", 0, "size", 72),
    "network.sizes=4": ("network_levels", 0, "size", 4),
    "network.0.latency=2us": ("network_levels", 0, "latency_s", 2e-6),
    "accelerator.memory_bandwidth=8TB/s": ("accelerator", "hbm_bytes_per_s", 8e12),
    "accelerator.memory=2x": ("accelerator", "hbm_bytes", 160e9),
    "accelerator.peak=2PFLOP/s": ("accelerator", "peak_flop_per_s", 2e15),
    "accelerator.matmul_latency=450ns": ("accelerator", "matmul_latency_s", 450e-9),
    "accelerator.achievable_fraction=0.5": ("accelerator", "achievable_fraction", 0.5),
    "accelerator.l2=100MiB": ("accelerator", "l2_bytes", 100 * 2**20),
}


@pytest.mark.parametrize("setting", WHAT_IFS)
def test_what_if(call, setting):
    *path, value = WHAT_IFS[setting]
    inputs = call("limits", "--on", "h100-sxm", "--to", "1e25", "--set", setting, "--json").json()["inputs"]
    assert inputs["set"] == [setting]
    for key in path:
        inputs = inputs[key]
    assert inputs == pytest.approx(value, rel=1e-12)


def test_settings_apply_in_turn(call):
    settings = ("--set", "network.latency=4us", "--set", "network.latency=0.5x")
    inputs = call("limits", "--to", "1e25", *settings, "--json").json()["inputs"]
    assert [level["latency_s"] for level in inputs["network_levels"]] == [2e-6, 2e-6]


def test_latency_moves_the_wall(walltime):
    corrected = ("--assumptions", "corrected", "--space", "published")
    wall = {
        factor: walltime("limits", "--set", f"network.latency={factor}", "--json", *corrected).json()["latency_wall"]
        for factor in ("1x", "0.1x", "10x")
    }
    walls = [wall[factor]["last_feasible_flop"] for factor in ("10x", "1x", "0.1x")]
    assert walls == sorted(walls)
    assert walls[0] < walls[2]


def test_latency_that_defect_1_would_drop_is_warned_of(call):
    args = ("limits", "--on", "h100-sxm", "--set", "network.latency=20us", "--json")
    assert any("zero-bubble" in warning for warning in call(*args).json()["warnings"])
    assert not any("zero-bubble" in w for w in call(*args, "--fix", "zero_bubble_latency_order").json()["warnings"])
    assert call(*args[:3], "--json").json()["warnings"] == []


def test_estimates_in_the_catalog_are_warned_of(call):
    result = call("limits", "--on", "gb300-nvl72", *SHORT, "--json")
    assert any("estimates, not published numbers" in warning for warning in result.json()["warnings"])
    shown = call("limits", "--on", "gb300-nvl72", *SHORT)
    assert shown.code == 0
    assert "note: estimates" in shown.err
    assert "note:" not in shown.out


@pytest.mark.parametrize("name", ["h100", "H100", "H100 SXM", "h100-sxm"])
def test_a_cluster_has_many_names(call, name):
    assert call("limits", "--on", name, "--to", "1e25", "--json").json()["inputs"]["cluster"] == "h100-sxm"


ACCELERATORS = {
    "gb200": "gb200-nvl72",
    "gb300": "gb300-nvl72",
    "h200-sxm": "h200",
    "b200-sxm": "b200",
    "a100-sxm": "a100-sxm-80gb",
    "a100": "a100-sxm-80gb",
    "v100-sxm": "v100-sxm-32gb",
    "v100": "v100-sxm-32gb",
    "h100": "h100-sxm",
    "NVIDIA H100 SXM5 80 GB": "h100-sxm",
}


@pytest.mark.parametrize("name", ACCELERATORS)
def test_an_accelerator_means_its_usual_cluster(call, name):
    args = ("limits", "--on", name, "--to", "1e25", "--json", "--parameters", "datasheet")
    assert call(*args).json()["inputs"]["cluster"] == ACCELERATORS[name]


def test_an_accelerator_of_the_datasheets_alone_needs_no_parameters(call):
    for name in ("gb200", "h200-sxm"):
        inputs = call("limits", "--on", name, "--to", "1e25", "--json").json()["inputs"]
        assert (inputs["cluster"], inputs["parameters"]) == (ACCELERATORS[name], "datasheet")
    assert call("limits", "--on", "a100", "--to", "1e25", "--json").json()["inputs"]["parameters"] == "Erdil2024"


@pytest.mark.parametrize("count", ["2048x", "2048 x ", "2,048x", "2_048x"])
def test_a_number_of_accelerators_may_be_written_with_separators(call, count):
    document = call("estimate", "mlp-12288", "--on", f"{count}h100-sxm", "--json").json()
    assert document["inputs"]["num_gpus"] == 2048


def test_whose_numbers(call):
    args = ("limits", "--on", "h100-sxm", "--to", "1e25", "--json")
    assert call(*args).json()["inputs"]["parameters"] == "Erdil2024"
    assert call(*args, "--parameters", "datasheet").json()["inputs"]["parameters"] == "datasheet"
    assert call("limits", "--on", "mi300x", *args[3:]).json()["inputs"]["parameters"] == "datasheet"


def test_precision(call):
    args = ("limits", "--on", "h100-sxm", "--parameters", "datasheet", "--to", "1e25", "--json", "--precision")
    half, quarter = (call(*args, precision).json()["inputs"]["accelerator"] for precision in ("bf16", "fp8"))
    assert quarter["peak_flop_per_s"] == pytest.approx(2 * half["peak_flop_per_s"], rel=1e-3)
    assert (half["word_bytes"], quarter["word_bytes"]) == (2, 1)


def test_readings(call):
    args = ("limits", "--to", "1e25", "--json")
    published, corrected = (call(*args, "--assumptions", n).json()["inputs"] for n in ("as_published", "corrected"))
    assert published["space"] == "published"
    assert corrected["space"] == "full"
    fixes = {name for name, value in corrected["assumptions"].items() if value is True}
    assert len(fixes) == 4
    for fix in fixes:
        one = call(*args, "--fix", fix).json()["inputs"]["assumptions"]
        assert {name for name, value in one.items() if value is True} == {fix}
    hidden = call(*args, "--overlap", "tp=0.5", "--overlap", "dp=1").json()["inputs"]["assumptions"]
    assert (hidden["overlap_tp"], hidden["overlap_pp"], hidden["overlap_dp"]) == (0.5, 1, 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_processes_changes_nothing(walltime, workers):
    args = ("limits", "--assumptions", "corrected", "--to", "1e27", "--json")
    assert walltime(*args, "--workers", workers).json()["runs"] == walltime(*args).json()["runs"]


def test_progress_is_silent_without_a_terminal(walltime):
    assert walltime("limits", "--assumptions", "corrected", "--to", "1e28").err == ""
