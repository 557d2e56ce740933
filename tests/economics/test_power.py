"""Power of accelerators of the catalog: what holds of all, and what was published of some."""

import math
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import walltime as wt
from walltime.catalog import DATASHEET, AcceleratorRecord, ClusterRecord, parameter_set, sources
from walltime.catalog.power import draws, node_of, power_record
from walltime.economics.power import Power, power
from walltime.engines.step import PARTS
from walltime.hardware import cluster
from walltime.planner import recommend
from walltime.problems import BadInput

CLUSTERS = [name for name in parameter_set(DATASHEET).ids(ClusterRecord) if name != "b200-power-limited"]
COMMUNICATION = ("tp_comm", "cp_comm", "ep_comm", "pp_comm", "dp_comm", "bubble")
TIMES = st.fixed_dictionaries({name: st.floats(0, 1e3) for name in PARTS})
H100 = power(cluster("h100-sxm", 2048))


def test_a_lowered_limit_that_nobody_says_is_not_known():
    assert power(cluster("b200-power-limited", 8)) is None


@pytest.mark.parametrize("name", CLUSTERS)
def test_draws_are_in_order_and_at_most_the_limit(name):
    found = power(cluster(name, 1024))
    assert 0 < found.idle_w < found.memory_bound_w <= found.communication_w <= found.compute_w <= found.limit_w
    assert found.part_powers_w.keys() == set(PARTS)
    assert found.host_w is None or 0 < found.host_w < found.limit_w
    assert 0 <= found.network_w < found.limit_w / 2


@given(TIMES)
def test_a_step_draws_between_idle_and_the_limit(times):
    times["matmul"] += 1e-3
    assert H100.idle_w * (1 - 1e-9) <= float(H100.board_w(times)) <= H100.limit_w


@given(TIMES, st.sampled_from(COMMUNICATION), st.floats(0, 1e3))
def test_more_communication_never_draws_more_than_computing(times, name, more):
    times["matmul"] += 1e-3
    assert float(H100.board_w(times | {name: times[name] + more})) <= H100.compute_w * (1 + 1e-9)
    computing = dict.fromkeys(PARTS, 0.0) | {"matmul": times["matmul"]}
    assert float(H100.board_w(computing | {name: more})) <= float(H100.board_w(computing)) * (1 + 1e-9)


def test_an_accelerator_without_a_power_limit_is_not_known():
    known = cluster("h100-sxm", 8)
    assert power(replace(known, accelerator=replace(known.accelerator, id="my-own-chip"))) is None


def test_a_node_that_nobody_says_is_not_known_never_zero():
    found = power(cluster("mi300x", 64))
    assert found.host_w is None
    assert found.facility_w(dict.fromkeys(PARTS, 1.0)) is None
    assert float(replace(found, host_w=300.0).facility_w({"matmul": 1.0})) == pytest.approx(
        (found.compute_w + 300.0 + found.network_w) * found.pue
    )


def test_a_users_own_numbers_replace_the_catalogs():
    own = replace(H100, pue=1.0, compute_w=500.0, host_w=100.0)
    assert own.part_powers_w["matmul"] == 500.0
    assert float(own.facility_w({"matmul": 1.0})) == pytest.approx(600.0 + own.network_w)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"pue": 0.9}, "pue=0.9 is not possible. Valid: a finite number of at least 1"),
        ({"pue": math.nan}, "pue=nan"),
        ({"limit_w": 0.0}, "limit_w=0.0"),
        ({"compute_w": 800.0}, "compute_w=800 is more than the board's limit of 700 W"),
        ({"host_w": -1.0}, "host_w=-1.0"),
        ({"grid_kg_per_kwh": math.inf}, "grid_kg_per_kwh=inf"),
    ],
)
def test_an_impossible_number_is_refused(wrong, said):
    with pytest.raises(BadInput, match=re.escape(said)):
        replace(H100, **wrong)


def test_the_network_grows_by_levels_of_switches():
    watts = [power(cluster("h100-sxm", num)).network_w for num in (8, 64, 2048, 16384, 131072)]
    assert watts == pytest.approx([0.0, 30.0, 72.0, 114.0, 156.0])
    assert power(cluster("h100-sxm")).network_w == pytest.approx(114.0)
    assert power(cluster("gb200-nvl72", 72)).network_w == 0.0


def test_a_node_of_h100_is_near_what_was_measured():
    """8.4 kW at most on a node of 10.2 kW (latif2024empirical); on what share hosts draw, this is calibrated."""
    busy = 8 * (H100.limit_w + H100.host_w)
    assert busy == pytest.approx(8400, rel=0.02)


def test_energy_of_an_option_is_power_times_time():
    found = recommend_small()
    energy_j = found.energy_j_per_token * found.tokens_per_s * found.time_s
    board_w = float(found.account.power.board_w(found.parts_s))
    assert energy_j == pytest.approx(found.plan.num_gpus * board_w * found.time_s)
    assert board_w * found.time_s == pytest.approx(
        sum(found.account.power.part_powers_w[name] * part_s for name, part_s in found.parts_s.items())
    )


def recommend_small():
    from tests.planner.small import question

    return recommend(question(goal="energy")).best


@pytest.fixture(scope="module")
def weak_scaling():
    """Llama-2-7B with FSDP on 128 and 2,048 H100s: (tokens/s a GPU, W a GPU)."""
    found = []
    for num in (128, 2048):
        on = wt.cluster("h100-sxm", num, parameters=DATASHEET)
        plan = wt.Plan(dp=num, sharding="zero3", reshard=True, micro_batch=2)
        asked = {"seq_len": 4096, "batch_seqs": 2 * num, "stack": "fsdp1"}
        step = wt.estimate(wt.model("llama-2-7b"), on, plan, **asked)
        found.append((float(step.tokens_per_s[0]) / num, float(power(on).board_w(step.parts_s)[0])))
    return found


def test_power_of_a_gpu_hardly_falls_while_throughput_does(weak_scaling):
    """fernandez2024hardware: throughput -37.22 %, power -5.87 %; on the latter, communication is calibrated."""
    (few_tokens, few_w), (many_tokens, many_w) = weak_scaling
    assert many_w / few_w - 1 == pytest.approx(-0.0587, abs=0.03)
    assert many_tokens / many_w < few_tokens / few_w


def test_a_training_step_draws_what_nodes_and_boards_show(weak_scaling):
    """0.85 at its highest (morrison2025holistically), 0.884 (newkirk2025h100): computing is calibrated on both."""
    assert weak_scaling[0][1] / H100.limit_w == pytest.approx((0.85 + 0.884) / 2, abs=0.02)


def test_every_number_has_a_source_that_exists():
    known = sources()
    for path, number in power_record().numbers().items():
        assert not number.source or number.source in known, path
        assert number.low is None or number.low <= number.value <= number.high, path


def test_records_are_of_accelerators_of_the_catalog():
    chips = set(parameter_set(DATASHEET).ids(AcceleratorRecord))
    record = power_record()
    assert record.accelerator.keys() <= chips
    in_nodes = [chip for node in record.node.values() for chip in node.accelerators]
    assert set(in_nodes) <= chips
    assert len(set(in_nodes)) == len(in_nodes)
    assert draws("h100-sxm").idle.kind == "derived"
    assert draws("h100-sxm").compute == draws("gtx-580").compute == record.default.compute_share
    assert node_of("h200").name == "DGX H100, DGX H200"
    assert node_of("gtx-580") is None


def test_power_is_plain_numbers():
    assert all(isinstance(value, float) for value in vars(H100).values() if not isinstance(value, dict))
    assert isinstance(replace(H100, pue=1.1), Power)
