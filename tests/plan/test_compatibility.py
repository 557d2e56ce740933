"""What each software stack can run: its capabilities are consistent, and a plan beyond them is refused by rule."""

from dataclasses import fields, replace

import pytest

from walltime.catalog.stacks import stack_ids, stack_record
from walltime.engines.capabilities import EVERYTHING, ORDERS, Capabilities
from walltime.engines.compatibility import broken_rules, check_stack
from walltime.engines.stack import Stack, stack
from walltime.plan import CONTEXT_ALGORITHMS, GROUPS, PIPELINE_SCHEDULES, PRECISIONS, RECOMPUTES, SHARDINGS, Plan
from walltime.problems import BadInput
from walltime.validate.cases import read_cases
from walltime.validate.layouts import DEFAULTS
from walltime.validate.measured import shipped_files
from walltime.workload import Training
from walltime.workload.catalog import transformer

LLAMA = Training(transformer("llama-3.1-405b"), 8192, 2048)
MIXTRAL = Training(transformer("mixtral-8x7b"), 4096, 2048)
VALID = {
    "kinds": GROUPS,
    "schedules": PIPELINE_SCHEDULES,
    "shardings": SHARDINGS,
    "pipeline_sharding": SHARDINGS,
    "hybrid_shard": SHARDINGS[1:],
    "recomputes": RECOMPUTES,
    "precisions": PRECISIONS,
    "cp_algorithms": CONTEXT_ALGORITHMS,
}


def rules(plan, training, software):
    return [rule for rule, _ in broken_rules(plan, training, software)]


@pytest.mark.parametrize("name", stack_ids())
def test_capabilities_do_not_contradict_each_other(name):
    runs = stack(name).runs
    for field, valid in VALID.items():
        assert set(getattr(runs, field)) <= set(valid), field
        assert len(set(getattr(runs, field))) == len(getattr(runs, field)), field
    assert ("pp" in runs.kinds) == bool(runs.schedules) == bool(runs.pipeline_sharding)
    assert ("tp" in runs.kinds) == bool(runs.sequence_parallel)
    assert ("cp" in runs.kinds) == bool(runs.cp_algorithms)
    assert ("ep" in runs.kinds) == bool(runs.etp)
    assert ("zero3" in runs.shardings) == bool(runs.reshard)
    assert set(runs.pipeline_sharding) <= set(runs.shardings)
    assert set(runs.hybrid_shard) <= set(runs.shardings)
    assert set(runs.moe_sequence_parallel) <= set(runs.sequence_parallel)
    assert set(runs.folded_orders) <= set(runs.orders)
    assert all(sorted(order) == sorted(GROUPS) for order in runs.orders)
    assert runs.interleaving == "none" or "1f1b" in runs.schedules
    assert runs.recomputes[0] == "none"
    assert GROUPS in runs.orders


@pytest.mark.parametrize("name", stack_ids())
def test_what_a_stack_runs_has_a_source(name):
    record = stack_record(name)
    assert (record.runs is None) == (name == "generic")
    assert record.runs is None or record.sources


@pytest.mark.parametrize("name", stack_ids())
def test_what_a_stack_does_unasked_it_can_run(name):
    usual = DEFAULTS[name]
    plan = Plan(sharding=usual.sharding, precision=usual.precision, dp=2)
    assert rules(plan, LLAMA, stack(name)) == []
    if "tp" in stack(name).runs.kinds:
        assert rules(replace(plan, tp=2, sequence_parallel=usual.sequence_parallel), LLAMA, stack(name)) == []


def test_the_generic_stack_takes_every_plan():
    assert stack("generic").runs == EVERYTHING == Capabilities()
    assert len(ORDERS) == 24
    assert ORDERS[0] == GROUPS
    strange = Plan(tp=8, cp=2, pp=4, dp=8, vpp=3, shard=2, sharding="zero3", order=("pp", "ep", "dp", "cp", "tp"))
    assert rules(strange, LLAMA, stack("generic")) == []


def test_measured_plans_run_in_their_stacks():
    cases, _ = read_cases(shipped_files(), strict=False)
    assert len(cases) > 500
    refused = [(case.source_id, *broken_rules(case.plan, case.training, stack(case.stack))) for case in cases]
    assert [found for found in refused if len(found) > 1] == []


NOT = {
    name: replace(EVERYTHING, **{name: value})
    for name, value in (
        ("schedules", ("1f1b",)),
        ("interleaving", "none"),
        ("uneven_stages", False),
        ("shardings", ("ddp", "zero1")),
        ("pipeline_sharding", ("ddp", "zero1")),
        ("hybrid_shard", ("zero1",)),
        ("reshard", (True,)),
        ("recomputes", ("none",)),
        ("partial_recompute", False),
        ("precisions", ("bf16",)),
        ("sequence_parallel", (True,)),
        ("cp_algorithms", ("ring",)),
        ("offload_optimizer", False),
        ("orders", (GROUPS,)),
    )
}
BREAKS = {
    "schedules": {"pp": 2, "schedule": "gpipe"},
    "interleaving": {"pp": 2, "vpp": 3},
    "uneven_stages": {"pp": 4},
    "shardings": {"sharding": "zero3"},
    "pipeline_sharding": {"pp": 2, "sharding": "zero3"},
    "hybrid_shard": {"dp": 8, "shard": 2, "sharding": "zero3"},
    "reshard": {"sharding": "zero3", "reshard": False},
    "recomputes": {"recompute": "full"},
    "partial_recompute": {"recompute": "full", "recompute_layers": 0.5},
    "precisions": {"precision": "fp8"},
    "sequence_parallel": {"tp": 2, "sequence_parallel": False},
    "cp_algorithms": {"cp": 2, "cp_algorithm": "all-to-all"},
    "offload_optimizer": {"offload_optimizer": True},
    "orders": {"tp": 2, "dp": 2, "order": ("dp", "tp", "cp", "ep", "pp")},
}


@pytest.mark.parametrize("rule", BREAKS)
def test_each_rule_refuses_what_it_is_about_and_nothing_else(rule):
    software = Stack("own", "a framework of one's own", runs=NOT[rule])
    plan = Plan(**BREAKS[rule])
    assert rules(plan, LLAMA, software) == [rule]
    with pytest.raises(BadInput, match=r"a framework of one's own.* (Valid|Nearest): .* Or stack=generic"):
        check_stack(plan, LLAMA, software)
    assert rules(Plan(), LLAMA, software) == []
    assert {field.name for field in fields(Capabilities)} - BREAKS.keys() == {
        "kinds",
        "etp",
        "moe_sequence_parallel",
        "folded_orders",
    }


@pytest.mark.parametrize(
    ("software", "training", "values", "message"),
    [
        ("fsdp1", LLAMA, {"tp": 2}, "tp=2: PyTorch FSDP1 (llm-foundry, Composer) has no tensor parallelism. Valid: 1."),
        ("fsdp1", LLAMA, {"pp": 2}, "pp=2: PyTorch FSDP1 (llm-foundry, Composer) has no pipeline parallelism."),
        ("torchtitan", MIXTRAL, {"ep": 2, "dp": 2}, "ep=2: torchtitan (PyTorch FSDP2) has no expert parallelism."),
        ("megatron-lm-2022", LLAMA, {"cp": 2}, "cp=2: Megatron-LM, 2022 (Korthikanti et al.) has no context"),
        ("torchtitan-2025", MIXTRAL, {"tp": 2, "ep": 2, "etp": 2, "dp": 2}, "etp=2: torchtitan since 2025"),
        ("megatron-core", MIXTRAL, {"tp": 2, "sequence_parallel": False}, "sequence_parallel=False: Megatron-Core"),
        ("deepspeed", LLAMA, {"dp": 8, "shard": 4, "sharding": "zero3"}, "shard=4: DeepSpeed ZeRO shares out zero3"),
        ("megatron-lm-2021", LLAMA, {"pp": 16}, "pp=16 x vpp=1: Megatron-LM, 2021 (Narayanan et al.) gives every"),
    ],
)
def test_what_a_stack_of_the_catalog_refuses(software, training, values, message):
    with pytest.raises(BadInput) as refusal:
        check_stack(Plan(**{"sharding": "ddp", "precision": "bf16"} | values), training, stack(software))
    assert str(refusal.value).startswith(message)


def test_a_choice_that_changes_nothing_breaks_no_rule():
    megatron = stack("megatron-core")
    assert rules(Plan(schedule="gpipe"), LLAMA, megatron) == []
    assert rules(Plan(tp=2, order=("ep", "cp", "tp", "pp", "dp")), LLAMA, megatron) == []
    assert rules(Plan(dp=8, shard=8), LLAMA, megatron) == []
    assert rules(Plan(sequence_parallel=False, sharding="zero3"), LLAMA, stack("torchtitan")) == []
    assert rules(Plan(cp_algorithm="all-to-all", sharding="zero3"), LLAMA, stack("torchtitan")) == []


def test_pipelines_inside_data_parallelism_need_experts_that_are_spread_alike():
    inside = {"pp": 2, "dp": 8, "order": ("tp", "cp", "ep", "pp", "dp")}
    megatron = stack("megatron-core")
    assert rules(Plan(**inside), LLAMA, megatron) == []
    assert rules(Plan(**inside, tp=2), LLAMA, megatron) == []
    assert rules(Plan(**inside, cp=2), LLAMA, megatron) == ["orders"]
    assert rules(Plan(**inside, ep=8), MIXTRAL, megatron) == ["orders"]
    assert rules(Plan(**inside, tp=4, ep=4), MIXTRAL, megatron) == []
