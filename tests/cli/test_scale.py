"""`walltime scale`: what it prints, its document, its files, and one line for what is wrong."""

import csv
import io
import re

import pytest

from walltime.cli.scale_question import scale_question

MODEL = ("scale", "llama-3.2-1b")
BATCH = ("--batch", "16", "--seq-len", "2048")
FEWER = ("--max-pp", "2", "--cp", "1", "--max-tp", "2")
STRONG = (*MODEL, "--on", "1..4xh100-sxm", *BATCH, *FEWER)
WEAK = (*MODEL, "--on", "2..8xh100-sxm", "--batch-per-gpu", "1/4", "--seq-len", "2048", *FEWER)


def document(outcome):
    assert outcome.code == 0, outcome.err
    return outcome.json()


def curve(outcome):
    [one] = document(outcome)["curves"]
    return one


# Text


def test_the_command_of_the_question(walltime):
    done = walltime(*MODEL, "--on", "2..8xh100-sxm", "--batch", "64")
    assert done.code == 0
    for section in (
        "llama-3.2-1b: 1.236B parameters",
        "strong scaling: 64 sequences of 4,096 tokens, 262,144 tokens a step at every size; stack megatron-core",
        "on DGX H100 SuperPOD, rented at $",
        "exposed  W/GPU  tokens/J  $/Gtoken  effective  returns\n",
        "GPUs added",
        "fastest plan",
        "from 2 to 8 GPUs, 4-fold: throughput ",
        "what a tenth more gives at ",
        "\nnext: walltime search llama-3.2-1b --on ",
    ):
        assert section in done.out, section
    assert "half of what it costs" in done.out
    assert done.err == "note: seq_len is not given: sequences of 4,096 tokens\n"
    assert not re.search(r"\b(nan|inf|None)\b", done.out)


def test_a_size_that_is_not_possible_is_shown(call):
    done = call(*WEAK)
    assert done.code == 0
    assert re.search(r"^2 +no plan$", done.out, re.MULTILINE)
    assert "\n2 GPUs: 1/4 sequences on each of 2 GPUs are 0.5, not a whole batch\n" in done.out
    assert "weak scaling: 1/4 sequence of 2,048 tokens for each GPU and step" in done.out


def test_memory_that_is_short_is_said(call):
    done = call(*STRONG, "--set", "accelerator.memory=0.1x", "--fix", "sharding=zero3")
    assert done.code == 0
    assert re.search(r"^1 GPU: does not fit: needs [\d.]+ GB on a GPU, [\d.]+ GB are there$", done.out, re.MULTILINE)


def test_one_size(call):
    done = call(*MODEL, "--on", "2xh100-sxm", *BATCH, *FEWER)
    assert done.code == 0
    assert "one size is possible: what an added GPU returns needs two" in done.out
    assert "what a tenth more gives at 2 GPUs  " in done.out


def test_prices_that_are_not_known_are_said_and_not_zero(call):
    asked = (*MODEL, "--on", "8..16xa800", *BATCH, *FEWER)
    done = call(*asked)
    assert done.code == 0
    assert "of which no price is known" in done.out
    assert "cost an hour not known" in done.out
    assert re.search(r"^failures counted: .*; prices not known$", done.out, re.MULTILINE)
    assert "\n-: not known\n" in done.out
    assert {row["usd_per_hour"] for row in curve(call(*asked, "--json"))["points"]} == {None}
    priced = curve(call(*asked, "--price", "2", "--json"))["points"]
    assert [row["usd_per_hour"] for row in priced] == [16, 32]


def test_power_that_is_not_known_is_said_and_not_zero(call, monkeypatch):
    monkeypatch.setattr("walltime.economics.account.power", lambda _: None)
    done = call(*STRONG)
    assert done.code == 0
    assert "power not known" in done.out
    row = curve(call(*STRONG, "--json"))["points"][-1]
    assert row["board_power_w"] is row["tokens_per_j"] is row["marginal_tokens_per_j"] is None
    assert row["return_share"] > 0


def test_no_size_is_possible(call):
    said = call(*MODEL, "--on", "1..2xh100-sxm", *BATCH, "--set", "accelerator.memory=0.01x").refused(3)
    assert said.startswith("no size is possible. On 2 x h100-sxm: no plan: of ")
    assert "memory" in said
    said = call(*MODEL, "--on", "2xh100-sxm", "--batch-per-gpu", "1/8", "--seq-len", "2048").refused(3)
    assert said == "no size is possible. On 2 x h100-sxm: 1/8 sequences on each of 2 GPUs are 0.25, not a whole batch."


# The document


def test_document(walltime):
    done = walltime(*STRONG, "--json", "--price", "3")
    found = document(done)
    assert done.err == ""
    assert found["command"] == "scale"
    assert found["mode"] == found["inputs"]["mode"] == "strong"
    assert found["inputs"]["batch_seqs"] == 16
    assert found["inputs"]["constraints"] == ["cp=1", "max_tp=2", "max_pp=2"]
    assert found["inputs"]["terms"]["price_usd_per_gpu_hour"] == {"h100-sxm": 3}
    one = curve(done)
    points = one["points"]
    assert [point["num_gpus"] for point in points] == [1, 2, 4]
    assert one["elasticities_at_gpus"] in (1, 2, 4)
    assert {"FLOP/s", "nvlink bandwidth"} < {row["resource"] for row in one["elasticities"]}
    first, second = points[:2]
    assert first["return_share"] is first["num_gpus_before"] is None
    assert second["num_gpus_before"] == 1
    added = second["tokens_per_s"] - first["tokens_per_s"]
    assert second["marginal_tokens_per_s_per_gpu"] == pytest.approx(added)
    assert second["marginal_tokens_per_s_per_usd_per_hour"] == pytest.approx(added / 3)
    for point in points:
        step_s = sum(point[name] for name in ("compute_s", "exposed_communication_s", "idle_s"))
        assert step_s == pytest.approx(point["step_time_s"])
        assert point["cost_usd_per_token"] == pytest.approx(point["usd_per_hour"] / 3600 / point["tokens_per_s"])


def test_commands_of_the_document_give_the_same_step(call):
    for point in curve(call(*STRONG, "--json"))["points"]:
        words = point["command"].split()
        assert words[:2] == ["walltime", "estimate"]
        assert document(call(*words[1:], "--json"))["step_time_s"] == pytest.approx(point["step_time_s"])


def test_points_are_those_of_search(call):
    for point in curve(call(*STRONG, "--json"))["points"]:
        on = f"{point['num_gpus']}xh100-sxm"
        again = document(call("search", "llama-3.2-1b", "--on", on, *BATCH, *FEWER, "--json"))
        assert point["step_time_s"] == again["plans"][0]["step_time_s"]


def test_weak_and_tokens(call):
    found = document(call(*WEAK, "--json"))
    assert found["inputs"]["batch_seqs_per_gpu"] == 0.25
    assert found["inputs"]["batch_seqs"] is None
    assert [point["batch_seqs"] for point in found["curves"][0]["points"]] == [None, 1, 2]
    strong = ("--on", "2xh100-sxm", "--batch-tokens", "32Ki", "--seq-len", "2048", *FEWER, "--mode", "strong")
    assert curve(call(*MODEL, *strong, "--json"))["points"][0]["batch_seqs"] == 16


def test_several_clusters_and_more_in_a_doubling(call):
    on = ("--on", "2..4xh100-sxm", "--on", "2xa100-sxm-80gb", "--on", "8xh100-sxm", "--per-doubling", "2")
    found = document(call(*MODEL, *on, *BATCH, "--tp", "1", "--pp", "1", "--fix", "sharding=zero1", "--json"))
    sizes = [[point["num_gpus"] for point in one["points"]] for one in found["curves"]]
    assert sizes == [[2, 3, 4, 8], [2]]


def test_owned(call):
    rented, owned = (curve(call(*STRONG, *more, "--json"))["points"][0] for more in ((), ("--owned",)))
    assert owned["usd_per_hour"] != rented["usd_per_hour"]
    assert "owned at $" in call(*STRONG, "--owned").out


def test_economics_are_settings(call):
    plain = curve(call(*STRONG, "--json"))["points"][0]
    more = curve(call(*STRONG, "--set", "power.pue=2", "--json"))["points"][0]
    assert more["facility_power_w"] > plain["facility_power_w"]
    assert more["step_time_s"] == plain["step_time_s"]


# What is taken where nothing is said


@pytest.mark.parametrize(("seq_len", "seqs"), [(2048, 2048), (3000, 1408), (2**22, 1), (2**23, 1)])
def test_a_batch_that_is_not_given_is_llama_2s(call, seq_len, seqs):
    asked = scale_question({"model": "llama-3.2-1b", "on": ("2xh100-sxm",), "seq_len": seq_len})
    assert asked.question.mode == "strong"
    assert asked.question.question.training.batch_seqs == seqs
    assert asked.notes == [
        f"batch is not given: {seqs * seq_len:,} tokens a step at every size, about as many as Llama 2 was trained "
        "with (--batch, --batch-tokens)"
    ]


def test_the_command_of_the_issue(call):
    short = (*MODEL, "--on", "2..4xh100-sxm", *FEWER)
    strong, weak = call(*short), call(*short, "--mode", "weak")
    assert strong.code == weak.code == 0
    assert "strong scaling: 1,024 sequences of 4,096 tokens, 4,194,304 tokens a step" in strong.out
    assert "note: batch is not given: 4,194,304 tokens a step at every size" in strong.err
    assert strong.out == call(*short, "--mode", "strong").out == call(*short, "--batch", "1024").out
    assert "weak scaling: 1 sequence of 4,096 tokens for each GPU and step" in weak.out
    assert "note: batch is not given: one sequence for each GPU and step (--batch-per-gpu)" in weak.err
    assert weak.out == call(*short, "--batch-per-gpu", "1").out


# What is too good, and what is not worth it


def test_utilisation_beyond_what_was_measured_is_marked(call):
    asked = (
        "scale",
        "llama-2-7b",
        "--on",
        "8..16xa100-sxm-80gb",
        "--batch",
        "512",
        "--tp",
        "1",
        "--cp",
        "1",
        "--pp",
        "1",
    )
    done = call(*asked)
    assert re.search(r"^8 .* \d\d\.\d% ! ", done.out, re.MULTILINE)
    assert re.search(r"^! more than was ever measured on a100-sxm-80gb: at most \d\d\.\d%$", done.out, re.MULTILINE)
    point = curve(call(*asked, "--json"))["points"][0]
    most = document(call("search", *asked[1:3], "8xa100-sxm-80gb", *asked[4:], "--json"))["measured_ceiling"]
    assert point["measured_ceiling_utilization"] == most["utilization"] < point["mfu"]
    assert "!" not in call(*STRONG).out


def test_nothing_measured_bounds_nothing(call):
    done = call(*MODEL, "--on", "8..16xa800", *BATCH, *FEWER)
    assert "no measured step on a800 in bf16 is known here: nothing bounds its MFU" in done.out


def test_sizes_that_divide_badly_neither_halve_returns_nor_go_unsaid(call):
    asked = ("scale", "llama-2-7b", "--on", "32..64xh100-sxm", "--per-doubling", "4", "--batch", "256", "--tp", "1")
    done = call(*asked)
    found = curve(call(*asked, "--json"))
    assert found["hull_gpus"] == [32, 64]
    assert found["beaten_gpus"] == [40, 48, 56]
    assert found["halving_gpus"] is None
    assert found["halving_gpus_range"] == {"worse": None, "better": None}
    said = (
        "\nan added GPU returns at least half of what it costs between these sizes, beside 32 GPUs, the best of them\n"
    )
    assert said in done.out
    assert re.search(r"^it returns \d\d% of it from 32 to 64 GPUs; beyond was not asked$", done.out, re.MULTILINE)
    assert "failures counted: the same over the range of what is known of them, and without them\n" in done.out
    assert re.search(
        r"^40, 48 and 56 GPUs: up to \d\d% less than other sizes, or a mix of them, give for the same cost$",
        done.out,
        re.MULTILINE,
    )
    assert [point["shortfall"] > 0.03 for point in found["points"]] == [False, True, True, True, False]


def test_the_main_table_fits_100_columns(call):
    """With a large cluster, a marked MFU and long steps."""
    done = call("scale", "llama-3.1-405b", "--on", "16384..65536xh100-sxm", "--batch", "2048", "--seq-len", "8192")
    table = done.out.split("\n\n")[2].split("\n")
    assert max(map(len, table)) <= 100


def test_ends_of_what_is_known_of_failures_are_said(call):
    asked = ("scale", "llama-2-7b", "--on", "1024..4096xh100-sxm", "--batch", "1024", "--max-tp", "1")
    done = call(*asked)
    found = curve(call(*asked, "--json"))
    ends = found["halving_gpus_range"]
    assert ends["worse"] < found["halving_gpus"] < ends["better"] < found["halving_gpus_without_failures"]
    assert re.search(
        r"^failures counted: from about [\d,]+ to [\d,]+ over the range of what is known of them; without them ",
        done.out,
        re.MULTILINE,
    )


# Files


def test_csv(call):
    rows = list(csv.DictReader(io.StringIO(call(*WEAK, "--csv").out)))
    assert [row["num_gpus"] for row in rows] == ["2", "4", "8"]
    assert [row["is_possible"] for row in rows] == ["false", "true", "true"]
    assert rows[0]["tokens_per_s"] == ""
    assert rows[0]["why_not"]
    assert float(rows[2]["marginal_tokens_per_s_per_gpu"]) > 0
    assert rows[2]["plan.order"] == "tp,cp,ep,dp,pp"


def test_files(call, tmp_path):
    pytest.importorskip("matplotlib")
    done = call(*STRONG, "--out", "scaling")
    assert done.code == 0
    folder = tmp_path / "scaling"
    names = sorted(path.name for path in folder.iterdir())
    charts = ("added_returns", "scaling")
    assert names == sorted(["scale.csv", *(f"{chart}.{kind}" for chart in charts for kind in ("png", "svg"))])
    assert f"wrote {len(names)} files in scaling" in done.err
    assert (folder / "scale.csv").read_text().startswith("cluster,num_gpus,batch_seqs")
    drawn = (folder / "scaling.svg").read_text()
    for text in (
        "Scaling: llama-3.2-1b",
        "strong: 16 x 2,048 tokens, megatron-core",
        *(
            "tokens/s per GPU",
            "MFU",
            "exposed communication",
            "W per GPU",
            "$ per billion tokens",
            "left after failures",
        ),
    ):
        assert text in drawn, text
    assert "half of what it costs" in (folder / "added_returns.svg").read_text()


def test_files_of_one_size_leave_out_what_needs_two(call, tmp_path):
    pytest.importorskip("matplotlib")
    assert call(*MODEL, "--on", "2xh100-sxm", *BATCH, *FEWER, "--out", "one").code == 0
    assert not list((tmp_path / "one").glob("added_returns*"))


# Bad input: (flags after `scale llama-3.2-1b`, text).
ON = "--on 1..4xh100-sxm"
REFUSED = {
    "--batch 16": "no cluster is named. Valid: --on 8..16384xh100-sxm.",
    f"{ON} --mode week --batch 16": "unknown mode 'week'. Did you mean 'weak'? Valid: strong, weak.",
    f"{ON} --mode weak --batch 16": "mode=weak: batch=16 is strong scaling. Valid: --batch-per-gpu N",
    f"{ON} --mode strong --batch-per-gpu 2": "batch_per_gpu=2 is weak scaling, mode=strong is strong.",
    f"{ON} --batch 16 --batch-per-gpu 2": "batch_per_gpu=2 is weak scaling, batch=16 is strong. Valid: one of them.",
    f"{ON} --batch 16 --batch-tokens 1M": "batch=16 and batch_tokens=1M say the same thing. Valid: one of them.",
    f"{ON} --batch 0": "batch=0 must be a whole number of at least 1.",
    f"{ON} --batch-tokens nan": "batch_tokens='nan' is not a quantity.",
    f"{ON} --batch-per-gpu 0": "batch_per_gpu=0 must be a positive number of sequences. Valid: 2, 0.125 or 1/8.",
    f"{ON} --batch-per-gpu=-1": "batch_per_gpu=-1 must be a positive number",
    f"{ON} --batch-per-gpu 1/0": "batch_per_gpu=1/0 must be a positive number",
    f"{ON} --batch-per-gpu nan": "batch_per_gpu=nan must be a positive number",
    f"{ON} --batch-per-gpu 1e3": "batch_per_gpu=1e3 must be a positive number",
    "--on 4..1xh100-sxm --batch 16": "--on 4..1xh100-sxm: 4 is more than 1. Valid: --on 1..4xh100-sxm.",
    "--on 0..4xh100-sxm --batch 16": "number of accelerators=0 must be a whole number of at least 1.",
    "--on=-4..4xh100-sxm --batch 16": "--on -4..4xh100-sxm: no range of whole numbers. Valid: --on 8..16384xh100-sxm.",
    "--on a..bxh100-sxm --batch 16": "no range of whole numbers",
    "--on ..4xh100-sxm --batch 16": "no range of whole numbers",
    "--on 1..xh100-sxm --batch 16": "no range of whole numbers",
    "--on 1.5..4xh100-sxm --batch 16": "no range of whole numbers",
    "--on 1..4h100-sxm --batch 16": "no range of whole numbers",
    "--on 1..4xh1oo-sxm --batch 16": "unknown accelerator or cluster 'h1oo-sxm'. Did you mean 'h100-sxm'?",
    "--on 1..100000000xh100-sxm --batch 16": "must be at most 10,000,000.",
    "--on h100-sxm --batch 16": "--on h100-sxm does not say how many. Valid: --on 1024xh100-sxm.",
    f"{ON} --batch 16 --per-doubling 0": "per_doubling=0 must be a whole number of at least 1.",
    f"{ON} --batch 16 --per-doubling 65": "per_doubling=65 must be at most 64.",
    f"{ON} --batch 16 --per-doubling x": "'x' is not a valid integer",
    f"{ON} --batch 16 --json --csv": "--json and --csv both claim standard output. Valid: one of them.",
    f"{ON} --batch 16 --stack torchtitn": "Did you mean 'torchtitan'?",
    f"{ON} --batch 16 --tp 1.5": "whole number",
    f"{ON} --batch 16 --fix sharding=zero4": "Did you mean 'zero3'?",
    f"{ON} --batch 16 --price 2 --owned": "owned and price both say what an hour costs.",
    f"{ON} --batch 16 --price nan": "price=nan must be a positive, finite number.",
    f"{ON} --batch 16 --set network.latency=nanx": "network.latency='nanx' is not a quantity.",
    f"{ON} --batch 16 --set power.pue=0.5": "power.pue=0.5 must be at least 1",
    f"{ON} --batch 16 --set power.peu=1.5": "Did you mean 'power.pue'?",
    f"{ON} --batch 16 --nonsense": "No such option",
}


@pytest.mark.parametrize("flags", REFUSED)
def test_refused(call, flags):
    assert REFUSED[flags] in call(*MODEL, *flags.split()).refused()


def test_models_are_real(call):
    assert "no model is named" in call("scale", "--on", "1..4xh100-sxm", "--batch", "16").refused()
    assert "is one of the theory's" in call("scale", "mlp-12288", "--on", "1..4xh100-sxm", "--batch", "16").refused()
    assert "Did you mean" in call("scale", "llama-9-7b", "--on", "1..4xh100-sxm", "--batch", "16").refused()


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(call, file):
    pytest.importorskip("matplotlib")
    file("taken", "")
    assert "cannot write to" in call(*STRONG, "--out", "taken/below").refused()
