"""``walltime estimate --timeline``: in the terminal, to a file, in JSON, and what is refused."""

import json
from xml.etree import ElementTree

import pytest

ASK = ("estimate", "llama-2-7b", "--on", "16xh100-sxm", "--pp", "4", "--batch", "64")


def test_it_is_drawn_in_the_terminal(call):
    out = call(*ASK, "--timeline").out
    assert "stage 0 FF" in out
    assert "F forward" in out
    assert "\x1b[" not in out


def test_the_model_may_follow_it(call):
    assert "stage 3 ." in call("estimate", "--timeline", *ASK[1:]).out


def test_it_is_drawn_to_a_file(call, tmp_path):
    answer = call(*ASK, "--timeline", "step.svg")
    assert "timeline: step.svg" in answer.out
    assert ElementTree.parse(tmp_path / "step.svg").getroot().get("role") == "img"


def test_json_has_what_stages_do(call, tmp_path):
    result = call(*ASK, "--timeline", "step.svg", "--json").json()
    told = result["timeline"]
    assert told["file"] == "step.svg"
    assert (tmp_path / "step.svg").exists()
    assert told["simulated_step_time_s"] == pytest.approx(result["step_time_s"], rel=0.02)
    assert len(told["stages"]) == 4
    for stage in told["stages"]:
        assert sum(stage["shares"].values()) == pytest.approx(1)
    assert json.loads(call(*ASK, "--json").out)["timeline"] is None


def test_a_run_file_may_ask_for_it(call, file):
    file("run.toml", 'model = "llama-2-7b"\non = "16xh100-sxm"\npp = 4\nbatch = 64\ntimeline = true\n')
    assert "F forward" in call("estimate", "run.toml").out


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("step.png", "timeline=step.png must end in .svg"),
        ("no/such/step.svg", "timeline=no/such/step.svg cannot be written: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_drawn_to_is_refused(call, asked, said):
    assert said in call(*ASK, "--timeline", asked).refused()


def test_a_folder_is_refused(call, tmp_path):
    (tmp_path / "step.svg").mkdir()
    assert "cannot be written" in call(*ASK, "--timeline", "step.svg").refused()


def test_too_many_passes_are_refused(call):
    said = call(*ASK[:-1], "16000000", "--timeline").refused()
    assert "has 32,000,000 passes" in said
    assert "a batch of 250000 sequences" in said


def test_theory_models_have_none(call):
    assert "timeline (--timeline) is for real models" in call("estimate", "mlp-12288", "--timeline").refused()
