"""`wt.search` of a real model: the same answer as the planner's, and refusals that name field and value."""

import math

import pytest

import walltime as wt
from walltime.planner import recommend
from walltime.problems import BadInput, NegativeAnswer

from .small import MODEL, TRAINING, cluster, question

ASKED = {"batch_seqs": TRAINING.batch_seqs, "seq_len": TRAINING.seq_len}


def test_answer_is_the_planners():
    found = wt.search(MODEL, cluster(), **ASKED, fix={"tp": (1, 2), "sharding": "zero1"}, most={"pp": 2})
    again = recommend(question(fix={"tp": (1, 2), "sharding": ("zero1",)}, most={"pp": 2}))
    assert found.recommended.plan == again.recommended.plan
    assert found.counts == again.counts
    assert found.narrow(tp=1).best.plan.tp == 1


def test_several_clusters_and_goals():
    found = wt.search(MODEL, [cluster(2), cluster(4)], **ASKED, goal="gpus", tokens=1e9, deadline_s=1e9)
    assert found.best.plan.num_gpus == 2
    share = float(found.best.account.effective_share[0])
    assert 0.99 < share < 1
    assert found.best.run_time_s == pytest.approx(1e9 / TRAINING.batch_tokens * found.best.time_s / share)


def test_an_order_on_the_network_is_one_value():
    order = ("tp", "cp", "ep", "dp", "pp")
    for given in (order, list(order), (order,)):
        assert wt.search(MODEL, cluster(), **ASKED, fix={"order": given}).best.plan.order == order


def test_one_precision_may_be_given_as_text():
    assert wt.search(MODEL, cluster(), **ASKED, precisions="fp8").best.plan.precision == "fp8"


def test_no_plan():
    with pytest.raises(NegativeAnswer, match="Smallest relaxation: without tp=3"):
        wt.search(MODEL, cluster(), **ASKED, fix={"tp": 3})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"goal": "tim"}, "Did you mean 'time'"),
        ({"top": 0}, "top=0 must be a whole number"),
        ({"top": 2.5}, "top=2.5 must be a whole number"),
        ({"stack": "torchtitn"}, "Did you mean 'torchtitan'"),
        ({"precisions": ("bf61",)}, "Did you mean 'bf16'"),
        ({"fix": {"sharing": "zero3"}}, "Did you mean 'sharding'"),
        ({"fix": {"sharding": "zero4"}}, "Did you mean 'zero3'"),
        ({"fix": {"tp": "8"}}, "tp='8' must be a whole number"),
        ({"fix": {"tp": True}}, "tp=True must be a whole number"),
        ({"fix": {"sequence_parallel": "maybe"}}, "sequence_parallel"),
        ({"fix": {"recompute_layers": math.nan}}, "recompute_layers=nan"),
        ({"fix": {"recompute_layers": "half"}}, "recompute_layers=half"),
        ({"least": {"tpp": 2}}, "Did you mean 'tp'"),
        ({"least": {"tp": 0}}, "min_tp=0"),
        ({"most": {"pp": 1.5}}, "max_pp=1.5"),
        ({"min_free_bytes": -1e9}, "min_free_memory"),
        ({"min_free_bytes": math.nan}, "min_free_memory"),
        ({"tokens": math.nan}, "tokens=nan"),
        ({"tokens": 0.0}, "tokens=0"),
        ({"tokens": 1e12, "deadline_s": math.nan}, "deadline=nan"),
        ({"deadline_s": 1e6}, "deadline needs the tokens"),
        ({"goal": "cost", "terms": {"h100-sxm": 2.0}}, "must be wt.Terms"),
        ({"batch_seqs": 0}, "batch_seqs=0"),
        ({"batch_seqs": None}, "batch_seqs is not given"),
        ({"seq_len": 0}, "seq_len=0"),
    ],
)
def test_refused(given, said):
    with pytest.raises(BadInput, match=said):
        wt.search(MODEL, cluster(), **(ASKED | given))


def test_clusters_without_a_number_are_refused():
    with pytest.raises(BadInput, match="no cluster is named"):
        wt.search(MODEL, [], **ASKED)
    with pytest.raises(BadInput, match="number of accelerators"):
        wt.search(MODEL, wt.cluster("h100-sxm"), **ASKED)
