"""Traces of processes that compute on a CPU, and collectives that gloo runs beside them."""

import pytest

from walltime.problems import BadInput

US = 1e-6


def us(parts):
    names = ("step_s", "compute_s", "communication_s", "exposed_communication_s", "idle_s")
    return tuple(round(getattr(parts, name) / US, 6) for name in names)


def test_an_operator_computes_with_what_it_calls_and_frames_do_not(make, shown):
    found = shown(
        make.annotation(0, 100, "ProfilerStep#1"),
        make.operator(10, 60, "autograd::engine::evaluate_function: AddmmBackward0"),
        make.operator(15, 55, "AddmmBackward0"),
        make.operator(20, 50, "aten::mm"),
        make.operator(25, 26, "aten::resolve_conj"),
        make.operator(70, 90, "## Call CompiledFxGraph f0 ##"),
    )
    assert us(found.mean) == (100, 50, 0, 0, 50)
    assert not found.on_accelerator


def test_an_operator_does_not_compute_while_it_waits_for_a_collective(make, shown):
    found = shown(
        make.annotation(0, 100, "ProfilerStep#1"),
        make.operator(0, 80, "aten::add"),
        make.operator(1, 79, "PythonSubclass"),
        make.operator(10, 70, "_c10d_functional::wait_tensor"),
        make.operator(72, 78, "aten::add"),
        make.annotation(5, 60, "gloo:all_reduce", tid=2),
    )
    # It computes in 0-1, 72-78 and 79-80; gloo works in 5-60; after that the wait goes on to 70.
    assert us(found.mean) == (100, 8, 65, 65, 27)
    assert found.mean.communication_by_kind_s == {"all_reduce": pytest.approx(55e-6), "wait": pytest.approx(10e-6)}


def test_what_gloo_copies_on_its_own_threads_is_no_computation(make, shown):
    found = shown(
        make.annotation(0, 100, "ProfilerStep#1"),
        make.operator(0, 40),
        make.operator(40, 50, "c10d::_allgather_base_"),
        make.annotation(45, 90, "gloo:all_gather", tid=2),
        make.operator(80, 90, "aten::copy_", tid=2),
    )
    assert us(found.mean) == (100, 40, 50, 50, 10)


def test_collectives_behind_computation_are_hidden(make, shown):
    found = shown(
        make.annotation(0, 100, "ProfilerStep#1"),
        make.operator(0, 80),
        make.operator(10, 12, "c10d::allreduce_"),
        make.annotation(12, 95, "gloo:all_reduce", tid=2),
    )
    assert us(found.mean) == (100, 78, 85, 17, 5)


def test_sends_are_noted_on_the_threads_that_call_them(make, shown):
    found = shown(
        make.annotation(0, 100, "ProfilerStep#1"),
        make.operator(10, 20, "c10d::send"),
        make.annotation(18, 60, "gloo:send"),
        make.operator(30, 50),
        make.operator(61, 62, "c10d::recv_"),
        make.annotation(62, 90, "gloo:recv"),
    )
    assert us(found.mean) == (100, 20, 79, 59, 21)
    assert set(found.mean.exposed_by_kind_s) == {"send_recv"}


def test_a_reduce_scatter_that_gloo_runs_as_an_all_reduce_is_shown_as_called(make, shown):
    events = [
        make.annotation(0, 50, "ProfilerStep#1"),
        make.operator(0, 10),
        make.operator(10, 12, "c10d::_reduce_scatter_base_"),
        make.annotation(12, 30, "gloo:all_reduce", tid=2),
    ]
    assert set(shown(*events).mean.communication_by_kind_s) == {"reduce_scatter"}
    both = shown(*events, make.operator(40, 41, "c10d::allreduce_")).mean.communication_by_kind_s
    assert set(both) == {"reduce_scatter", "all_reduce"}


def test_two_threads_that_compute_count_once(make, shown):
    found = shown(make.annotation(0, 50, "ProfilerStep#1"), make.operator(0, 30), make.operator(20, 40, tid=3))
    assert us(found.mean)[1] == 40


def test_events_that_do_not_quite_nest_lose_nothing(make, shown):
    found = shown(
        make.annotation(0, 100, "ProfilerStep#1"),
        make.operator(0, 10),
        make.operator(5, 10.001),
        make.operator(10, 40, "aten::addmm"),
    )
    assert us(found.mean)[1] == 40


def test_the_hosts_side_of_a_run_on_accelerators_is_refused(make, shown):
    with pytest.raises(BadInput, match="none of their kernels"):
        shown(make.operator(0, 10), make.event("cuda_runtime", "cudaLaunchKernel", 1, 2, tid=1))
    with pytest.raises(BadInput, match="none of their kernels"):
        shown(make.operator(0, 10), distributedInfo={"backend": "nccl", "rank": 0})


def test_a_trace_in_which_nothing_computes_is_refused(make, shown):
    with pytest.raises(BadInput, match="no kernels and no operators"):
        shown(make.annotation(0, 100, "ProfilerStep#1"))
    with pytest.raises(BadInput, match="no kernels and no operators"):
        shown()
