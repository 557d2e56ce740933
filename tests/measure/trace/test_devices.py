"""Traces of accelerators whose parts were worked out by hand."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walltime.measure.trace import rank_traces, step_parts
from walltime.measure.trace.names import KINDS, kind_of
from walltime.problems import BadInput

US = 1e-6


def us(parts):
    """Parts of a step in whole microseconds: step, compute, communication, exposed, idle."""
    names = ("step_s", "compute_s", "communication_s", "exposed_communication_s", "idle_s")
    return tuple(round(getattr(parts, name) / US, 6) for name in names)


def test_communication_is_exposed_where_nothing_computes(make, shown):
    found = shown(make.kernel(0, 100), make.kernel(50, 150, make.ALL_GATHER, tid=20), make.kernel(170, 200))
    assert us(found.mean) == (200, 130, 100, 50, 20)
    assert found.mean.exposed_by_kind_s == {"all_gather": pytest.approx(50 * US)}
    assert found.on_accelerator


def test_nested_and_overlapping_kernels_of_several_streams_count_once(make, shown):
    found = shown(
        make.kernel(0, 100),
        make.kernel(20, 30, tid=8),
        make.kernel(90, 120, tid=9),
        make.kernel(10, 200, make.REDUCE_SCATTER, tid=20),
        make.kernel(40, 60, make.ALL_GATHER, tid=21),
        make.kernel(150, 260, make.ALL_GATHER, tid=21),
    )
    assert us(found.mean) == (260, 120, 250, 140, 0)
    assert found.mean.communication_by_kind_s == {
        "all_gather": pytest.approx(130 * US),
        "reduce_scatter": pytest.approx(190 * US),
    }
    assert found.mean.exposed_by_kind_s == {
        "all_gather": pytest.approx(110 * US),
        "reduce_scatter": pytest.approx(80 * US),
    }


def test_communication_that_is_wholly_hidden(make, shown):
    found = shown(make.kernel(0, 100), make.kernel(10, 90, make.ALL_REDUCE, tid=20))
    assert us(found.mean) == (100, 100, 80, 0, 0)


def test_copies_compute_and_copies_between_accelerators_communicate(make, shown):
    found = shown(
        make.event("gpu_memcpy", "Memcpy DtoD (Device -> Device)", 0, 10),
        make.event("gpu_memset", "Memset (Device)", 10, 15),
        make.event("gpu_memcpy", "Memcpy PtoP (Device -> Device)", 15, 40),
    )
    assert us(found.mean) == (40, 15, 25, 25, 0)
    assert found.mean.exposed_by_kind_s == {"other": pytest.approx(25 * US)}


def test_steps_as_the_profiler_projects_them_onto_streams(make, shown):
    found = shown(
        make.step(4, 0, 90),
        make.step(4, 10, 95, tid=20),
        make.step(5, 100, 180),
        make.kernel(0, 60),
        make.kernel(50, 90, make.ALL_GATHER, tid=20),
        make.kernel(100, 180),
        make.step(4, 0, 5, cat="user_annotation"),
    )
    assert [us(step) for step in found.steps] == [(100, 60, 40, 30, 10), (80, 80, 0, 0, 0)]
    assert us(found.mean) == (90, 70, 20, 15, 5)
    assert found.mean.num_steps == 2
    assert found.notes == ()


def test_steps_of_the_host_where_nothing_else_is_known(make, shown):
    found = shown(
        make.step(1, 0, 98, cat="user_annotation"),
        make.step(2, 100, 200, cat="user_annotation"),
        make.kernel(10, 60),
        make.kernel(110, 230),
    )
    assert [us(step) for step in found.steps] == [(100, 50, 0, 0, 50), (130, 120, 0, 0, 10)]
    assert "after the last step ended on the host" in found.notes[0]


def test_a_collective_over_the_edge_of_a_step_counts_in_both(make, shown):
    found = shown(
        make.step(1, 0, 99), make.step(2, 100, 200), make.kernel(0, 80), make.kernel(80, 120, make.ALL_REDUCE)
    )
    assert [us(step)[3] for step in found.steps] == [20, 20]


def test_without_marks_all_is_one_step_and_it_is_said(make, shown):
    found = shown(make.kernel(5, 10))
    assert us(found.mean)[0] == 5
    assert found.notes == ("no ProfilerStep annotations: all of the trace counts as one step",)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ncclDevKernel_AllReduce_Sum_bf16_RING_LL(ncclDevKernelArgsStorage<4096ul>)", "all_reduce"),
        ("ncclKernel_ReduceScatter_RING_LL_Sum_half(ncclDevComm*, unsigned long, ncclWork*)", "reduce_scatter"),
        ("ncclDevKernel_SendRecv(ncclDevKernelArgsStorage<4096ul>)", "send_recv"),
        ("ncclDevKernel_Broadcast_RING_LL", "broadcast"),
        ("ncclDevKernel_Generic_1(ncclDevKernelArgsStorage<4096ul>)", "other"),
        ("ncclDevKernel_Reduce_Sum_f32_RING_LL", "other"),
        ("_allgather_base", "all_gather"),
        ("reduce_scatter_tensor_coalesced", "reduce_scatter"),
        ("all_to_allv", "all_to_all"),
        ("recv 3<-2", "send_recv"),
    ],
)
def test_kinds_of_collectives_by_name(name, kind):
    assert KINDS[kind_of(name)] == kind


def test_what_a_collective_says_of_itself_goes_before_its_kernels_name(make, shown):
    generic = "ncclDevKernel_Generic_1(ncclDevKernelArgsStorage<4096ul>)"
    args = {"Collective name": "_allgather_base", "Process Group Description": "mesh_dp_shard"}
    found = shown(make.kernel(0, 10), make.kernel(5, 30, generic, **args))
    assert found.mean.exposed_by_kind_s == {"all_gather": pytest.approx(20 * US)}
    assert found.mean.exposed_by_group_s == {"mesh_dp_shard": pytest.approx(20 * US)}


def test_several_accelerators_of_one_file_are_told_apart(make, tmp_path):
    events = [make.kernel(0, 10), make.event("kernel", make.GEMM, 0, 30, pid=1)]
    path = make.written(tmp_path / "two.json.gz", events)
    assert [(rank.device, us(rank.mean)[0]) for rank in rank_traces(path)] == [(0, 10), (1, 30)]
    with pytest.raises(BadInput, match="kernels of 2 accelerators"):
        step_parts(path)


def test_kernels_that_take_no_time_and_events_that_do_not_say(make, shown):
    untimed = make.kernel(3, 4)
    del untimed["dur"]
    found = shown(make.kernel(0, 10), make.kernel(5, 5), untimed, make.kernel(9, 4), make.kernel(1e300, 1e300))
    assert us(found.mean) == (10, 10, 0, 0, 0)
    assert "left out: 1 events at no possible time" in found.notes
    assert "left out: 2 events without a begin and a length" in found.notes


TIMES = st.tuples(st.integers(0, 300), st.integers(0, 60), st.sampled_from(["compute", "gather", "reduce"]))


@given(st.lists(TIMES, min_size=1, max_size=25), st.randoms(use_true_random=False))
def test_parts_are_those_of_a_count_of_moments_in_any_order(make, tmp_path_factory, events, shuffle):
    names = {"compute": make.GEMM, "gather": make.ALL_GATHER, "reduce": make.ALL_REDUCE}
    kernels = [make.kernel(begin, begin + length, names[what]) for begin, length, what in events]
    folder = tmp_path_factory.mktemp("shuffled", numbered=True)
    first = rank_traces(make.written(folder / "a.json", kernels))[0].mean
    shuffle.shuffle(kernels)
    assert rank_traces(make.written(folder / "a.json", kernels))[0].mean == first
    covered = {what: set() for what in names}
    for begin, length, what in events:
        covered[what] |= set(range(begin, begin + length))
    communication = covered["gather"] | covered["reduce"]
    whole = max(begin + length for begin, length, _ in events) - min(begin for begin, *_ in events)
    if whole:
        busy = len(covered["compute"]), len(communication), len(communication - covered["compute"])
        assert us(first) == (whole, *busy, whole - busy[0] - busy[2])
    assert first.step_s == first.compute_s + first.exposed_communication_s + first.idle_s


def test_parts_add_up_exactly_in_whatever_numbers(make, shown):
    random.seed(3)
    moments = [random.uniform(0, 1e7) for _ in range(300)]
    names = (make.GEMM, make.ALL_GATHER, make.SEND_RECV)
    found = shown(*(make.kernel(at, at + random.uniform(0, 1e5), random.choice(names)) for at in moments))
    for step in (*found.steps, found.mean):
        assert step.step_s == step.compute_s + step.exposed_communication_s + step.idle_s
