"""`--on my-cluster` works in every command, and a broken calibration only stops those that name it."""

import json

import msgspec
import pytest

from .machines import cpu, gpu
from .test_rows import PLANS, result, rows  # noqa: F401  (a fixture)

TRAINING = ("llama-2-7b", "--batch=64", "--sharding=zero3")


@pytest.mark.parametrize("by_path", [False, True])
def test_an_estimate_says_what_it_stands_on(keep, call, by_path):
    path = keep(gpu())
    name = str(path) if by_path else "my-h100"
    shown = call("estimate", *TRAINING, "--on", f"16x{name}")
    assert shown.code == 0
    quality = "step times 5.0% off in the median where it was fitted"
    assert f"calibration {name} {gpu().version} of 2026-07-01; {quality}" in shown.out
    there = call("estimate", *TRAINING, "--on", f"16x{name}", "--json").json()
    usual = call("estimate", *TRAINING, "--on=16xh100-sxm", "--json").json()
    said = {"id": name, "version": gpu().version, "date": "2026-07-01", "based_on": "h100-sxm"}
    assert there["inputs"]["calibration"] == said
    assert "calibration" not in usual["inputs"]
    assert there["step_time_s"] == usual["step_time_s"]


def test_its_numbers_are_explained(keep, call):
    keep(cpu())
    out = call("estimate", "gpt2", "--batch=8", "--on=4xmy-cpu", "--stack=pytorch", "--explain").out
    for line in ("what accelerators sustain  my-cpu ", "matmul kernel              my-cpu, fp32"):
        assert line in out
    assert out.count(" rows.csv") >= 4


@pytest.mark.parametrize(
    "command",
    [
        ("search", "llama-2-7b", "--batch=64", "--on=16xmy-h100"),
        ("scale", "llama-2-7b", "--batch=64", "--on=8..16xmy-h100"),
        ("export", "llama-2-7b", "--batch=64", "--on=16xmy-h100", "--to=megatron", "--stack=megatron-core"),
        ("limits", "--on=my-h100"),
        ("estimate", *TRAINING, "--on=16xmy-h100", "--price=my-h100=2"),
        ("show", "my-h100"),
        ("show", "links", "my-h100"),
        ("show", "clusters", "my-h100"),
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_every_command_knows_it(keep, call, command):
    keep(gpu())
    done = call(*command)
    assert done.code == 0, done.err
    assert "my-h100" in done.out


def test_an_exported_file_says_what_made_it(keep, call):
    keep(gpu())
    out = call("export", "llama-2-7b", "--batch=64", "--on=16xmy-h100", "--to=megatron").out
    assert f"and calibration my-h100 {gpu().version} of 2026-07-01; to make it again:" in out
    assert "--on 16xmy-h100 " in out


def test_calibrations_are_listed_with_what_is_wrong_with_them(keep, call):
    path = keep(gpu(), cpu())
    path.with_name("broken.toml").write_text("id = 1\n")
    found = {row["id"]: row for row in call("show", "calibrations", "--json").json()["rows"]}
    assert found["my-h100"]["based_on"] == "h100-sxm"
    assert found["my-cpu"]["step_time_median_error"] == "5.0%"
    assert found["broken"]["problem"].startswith(str(path.with_name("broken.toml")))
    assert call("show", "calibrations", "broken").refused().startswith(str(path.with_name("broken.toml")))
    assert call("estimate", *TRAINING, "--on=16xbroken").refused().startswith(str(path.with_name("broken.toml")))
    for command in (("estimate", *TRAINING, "--on=16xmy-h100"), ("estimate", *TRAINING, "--on=16xh100"), ("show",)):
        assert call(*command).code == 0


def test_one_is_shown_with_how_it_was_made(keep, call):
    keep(cpu())
    out = call("show", "calibrations", "my-cpu").out
    for line in ("walltime calibrate rows.csv --name NAME", "torch", "median error 5.0%", "peak_flop_per_s.fp32"):
        assert line in out
    kinds = {row["of"] for row in call("show", "calibrations", "my-cpu", "--json").json()["rows"]}
    assert kinds >= {"calibrations", "accelerators", "efficiencies", "networks", "clusters"}
    assert kinds >= {"kernels", "links", "training"}
    assert "Did you mean 'my-cpu'?" in call("show", "calibrations", "mycpu").refused()
    assert "Did you mean 'my-cpu'?" in call("estimate", *TRAINING, "--on=16xmycpu").refused()


def test_without_any_there_are_none(keep, call):
    keep()
    assert call("show", "calibrations").out == "none\n"
    assert call("show", "calibrations", "--json").json()["rows"] == []


@pytest.mark.parametrize("held_out", [None, 0.07])
def test_a_search_quotes_the_error_of_its_own_steps(keep, call, held_out):
    quality = msgspec.structs.replace(cpu().quality[0], held_out_median_error=held_out)
    keep(cpu(quality=[quality]))
    on = ("--batch=8", "--stack=pytorch", "--precision=fp32", "--on")
    out = call("search", "gpt2", *on, "2xmy-cpu").out
    whose = "step times that my-cpu was fitted on" if held_out is None else "step times held out of my-cpu's fit"
    assert f"within {held_out or 0.05:.1%}, the median error of {'the ' if held_out is None else ''}{whose}" in out
    assert "FLAG       my-cpu was fitted on 40 measured steps, of which it keeps no MFU: nothing bounds" in out
    out = call("scale", "gpt2", *on, "1..2xmy-cpu").out
    assert "my-cpu was fitted on 40 measured steps, of which it keeps no MFU: nothing bounds its MFU" in out
    assert "failures not known" in out
    assert f"the simplest within {held_out or 0.05:.1%} of it" in out


def test_a_search_on_one_without_steps_quotes_the_catalog(keep, call):
    keep(cpu(quality=[]))
    out = call("search", "gpt2", "--batch=8", "--stack=pytorch", "--precision=fp32", "--on=2xmy-cpu").out
    assert "the median error of our step times on other machines" in out
    assert "failures   not known\n" in out
    assert "FLAG       no measured step on my-cpu in fp32 is known here" in out


def test_measured_rows_are_predicted_on_it(keep, call, rows):  # noqa: F811
    keep(cpu(), gpu())
    path = rows(*map(result, PLANS))
    document = call("validate", path, "--on=my-cpu", "--json").json()
    assert document["inputs"]["calibration"]["id"] == "my-cpu"
    assert "walltime_measure" in json.dumps(document)
    assert call("validate", path, "--on=my-h100").code == 0, "the processor has one calibration, whatever --on says"
    message = call("validate", path, "--on=h100-sxm").refused()
    assert message.startswith("unknown calibration 'h100-sxm'. Did you mean 'my-h100'?")
    message = call("validate", path, "--on=my-cpu", "--leave-one-source-out").refused()
    assert message.endswith("Valid: without --on.")


def test_measured_rows_without_a_calibration_say_what_to_do(keep, call, rows):  # noqa: F811
    keep()
    done = call("validate", rows(result(PLANS[0])))
    assert done.code == 3
    assert "has no calibration; make one: walltime measure gemm --csv kernels.csv, then walltime calibrate" in done.err


def test_fp32_is_said_to_be_unmeasured_where_it_is(call):
    done = call("estimate", *TRAINING, "--on=16xh100-sxm", "--precision=fp32", "--stack=pytorch")
    assert done.code == 0
    assert "note: fp32 matmuls of h100-sxm were not measured" in done.err
    message = call("estimate", *TRAINING, "--on=16xh100-sxm", "--precision=fp32", "--stack=fsdp1").refused()
    assert message.startswith("precision=fp32: ")
    assert message.endswith("Or stack=generic, which takes any plan.")
