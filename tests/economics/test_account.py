"""The account of an estimate: metrics as the study defines them, what is not known stays unknown."""

import math

import numpy as np
import pytest

import walltime as wt
from walltime.economics.account import account
from walltime.economics.numbers import account_numbers
from walltime.economics.terms import Terms
from walltime.engines.known_cluster import known_cluster
from walltime.engines.stack import stack
from walltime.engines.transformer import estimate
from walltime.plan import PlanBatch
from walltime.problems import BadInput
from walltime.workload import Training

PLANS = [wt.Plan(tp=tp, pp=pp, dp=512 // (tp * pp), micro_batch=2) for tp, pp in ((1, 1), (2, 4), (8, 1), (8, 8))]


def estimated(cluster="h100-sxm", plans=PLANS):
    training = Training(wt.model("llama-2-7b"), 4096, 1024)
    machine = known_cluster(wt.cluster(cluster, plans[0].num_gpus))
    return estimate(training, machine, PlanBatch.of(plans), stack("megatron-core"))


def test_compute_exposed_communication_and_idling_are_the_step():
    made = account(estimated())
    together = made.compute_s + made.exposed_communication_s + made.idle_s
    np.testing.assert_allclose(together, made.estimate.time_s)
    assert (made.idle_s >= 0).all()
    assert (made.communication_s >= made.exposed_communication_s).all()
    assert (made.communication_s <= made.estimate.time_s).all()
    assert ((made.overlap_share >= 0) & (made.overlap_share <= 1)).all()


def test_rows_have_every_metric_of_the_study():
    found = estimated()
    for i, row in enumerate(account(found).to_rows()):
        tokens = 1024 * 4096
        step_s = float(found.time_s[i])
        assert row["tokens_per_s"] == pytest.approx(tokens / step_s)
        assert row["tokens_per_s_per_gpu"] == pytest.approx(tokens / step_s / 512)
        assert row["tflop_per_s_per_gpu"] * 1e12 / 989.4e12 == pytest.approx(row["mfu"], rel=1e-3)
        assert row["energy_j_per_step"] == pytest.approx(row["board_power_w"] * 512 * step_s)
        assert row["tokens_per_j"] == pytest.approx(row["tokens_per_s"] / row["total_board_power_w"])
        assert row["facility_power_w"] > row["total_board_power_w"]
        assert row["cost_usd_per_step"] == pytest.approx(row["usd_per_gpu_hour"] * 512 * step_s / 3600)
        assert row["cost_usd_per_token"] == pytest.approx(row["cost_usd_per_step"] / tokens)
        assert row["tokens_per_gpu_hour"] == pytest.approx(3600 * row["tokens_per_s_per_gpu"])
        assert 0 < row["effective_share"] < 1
        assert row["goodput_tokens_per_s"] == pytest.approx(row["effective_share"] * row["tokens_per_s"])
        assert all(math.isfinite(value) for value in row.values())


def test_what_is_not_known_is_none_and_never_zero(monkeypatch):
    for name in ("power", "rental_usd_per_gpu_hour"):
        monkeypatch.setattr(f"walltime.economics.account.{name}", lambda _of: None)
    row = account(estimated()).to_rows()[0]
    unknown = {name for name, value in row.items() if value is None}
    of_power = {"board_power_w", "total_board_power_w", "facility_power_w", "energy_j_per_step", "energy_j_per_token"}
    of_price = {"usd_per_gpu_hour", "usd_per_hour", "cost_usd_per_step", "cost_usd_per_token"}
    assert unknown == of_power | of_price | {"tokens_per_j", "carbon_kg_per_token"}


def test_terms_replace_the_catalogs_numbers():
    found = estimated()
    dear = account(found, Terms(price_usd_per_gpu_hour={"h100-sxm": 10.0}))
    assert (dear.price_usd_per_gpu_hour == 10.0).all()
    own = account(found, Terms(owned=True))
    assert (own.price_usd_per_gpu_hour != account(found).price_usd_per_gpu_hour).all()
    years = (
        own.price_usd_per_gpu_hour
        - account(found, Terms(owned=True, settings={"cost.years": 20.0})).price_usd_per_gpu_hour
    )
    assert (years > 0).all()
    usual = account(found)
    wasteful = account(found, Terms(settings={"power.pue": 2 * usual.power.pue}))
    np.testing.assert_allclose(wasteful.facility_w, 2 * usual.facility_w)
    slow = account(found, Terms(settings={"failures.restart_s": 10 * usual.reliability.restart_s}))
    assert (slow.effective_share < usual.effective_share).all()


def test_an_account_names_the_numbers_it_stands_on():
    rented = account_numbers(wt.cluster("h100-sxm", 512), Terms())
    assert {path.partition(".")[0] for path in rented} == {"power", "cost", "failures"}
    assert rented["failures.gpu_mtbf_s"].source == "grattafiori2024llama3"
    assert rented["cost.usd_per_gpu_hour"].value == pytest.approx(account(estimated()).price_usd_per_gpu_hour[0])
    owned = account_numbers(wt.cluster("h100-sxm", 512), Terms(owned=True))
    assert {"cost.server_usd", "cost.years", "cost.electricity_usd_per_kwh"} <= owned.keys()
    assert not owned.keys() & {"cost.server_per_accelerator", "cost.provisioned_per_board_limit", "failures.repair_s"}
    assert not [path for path in account_numbers(wt.cluster("h20", 8), Terms()) if path.startswith("cost.")]
    known_better = Terms(settings={"power.pue": 1.1, "failures.restart_s": 60.0})
    replaced = rented.keys() - account_numbers(wt.cluster("h100-sxm", 512), known_better).keys()
    assert replaced == {"power.pue", "failures.detection_s", "failures.startup_s"}


def test_a_run_that_failures_never_let_end_has_no_cost():
    made = account(estimated(), Terms(settings={"failures.gpu_mtbf_s": 60.0}))
    assert (made.effective_share == 0).all()
    assert (made.goodput_tokens_per_s == 0).all()
    assert {name for name, value in made.run().items() if value is not None} == {"ideal_run_time_s"}


def test_an_account_is_of_one_number_of_accelerators():
    training = Training(wt.model("llama-2-7b"), 4096, 1024)
    plans = PlanBatch.of([wt.Plan(dp=8), wt.Plan(dp=16)])
    found = estimate(training, known_cluster(wt.cluster("h100-sxm", 16)), plans, stack("megatron-core"))
    with pytest.raises(BadInput, match="plans are of 8, 16 accelerators"):
        account(found)
