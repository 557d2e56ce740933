"""Timing one kernel: how many samples, what they say, and what a GPU is asked for."""

import itertools
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walltime.measure import sampling
from walltime.measure.devices import Device
from walltime.measure.sampling import Limits, hold, launch_time_s, median_interval, sample, summary

CPU = Device("cpu", 0, "a CPU")
GPU = Device("cuda", 0, "a GPU")
TIMES = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=60)


UNSTEADY = [0.01 + 0.02 * (37 * i % 101) / 101 for i in range(101)]


class Clock:
    """A clock that stands still but for what is said to take time."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        self.slept = 0
        monkeypatch.setattr(sampling, "time", types.SimpleNamespace(perf_counter=lambda: self.now))
        cuda = types.SimpleNamespace(Event=self.event, _sleep=self.sleep, synchronize=lambda: None)
        monkeypatch.setattr(sampling, "torch_module", lambda: types.SimpleNamespace(cuda=cuda))

    def sleep(self, cycles):
        self.slept += cycles

    def event(self, enable_timing):
        assert enable_timing
        event = types.SimpleNamespace(at=None)
        event.record = lambda: setattr(event, "at", self.now)
        event.synchronize = lambda: None
        event.elapsed_time = lambda other: (other.at - event.at) * 1e3
        return event

    def kernel(self, *times):
        """A kernel that takes these times in turn."""
        turn = itertools.cycle(times)
        return lambda: setattr(self, "now", self.now + next(turn))


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@given(TIMES)
def test_a_summary_is_in_order(times):
    found = summary(times, 0.01)
    low, high = median_interval(times)
    assert found.min_s <= found.p10_s <= found.time_s <= found.p90_s
    assert low <= found.time_s <= high
    assert found.converged == (found.ci_relative is not None and found.ci_relative <= 0.01)


def test_few_samples_have_no_interval():
    assert summary([1.0] * 5, 0.01).ci_relative is None
    assert not summary([1.0] * 5, 0.01).converged
    assert summary([1.0] * 6, 0.01).converged


def test_outliers_do_not_move_the_median():
    assert summary([1.0] * 30 + [1000.0] * 5, 0.01) == summary([1.0] * 35, 0.01).__class__(
        1.0, 0.0, 35, True, 1.0, 1.0, pytest.approx(1000.0)
    )


def test_the_interval_holds_the_median_of_the_law_in_19_of_20_cases():
    numpy = pytest.importorskip("numpy")
    draws = numpy.random.default_rng(1).exponential(size=(4000, 25))
    inside = [low <= numpy.log(2) <= high for low, high in map(median_interval, draws.tolist())]
    assert 0.94 < numpy.mean(inside) < 0.99


@pytest.mark.parametrize("device", [CPU, GPU], ids=lambda device: device.kind)
def test_a_steady_kernel_needs_few_samples(clock, device):
    found = sample([clock.kernel(0.01)], device, Limits(time_s=10.0))
    assert found.converged
    assert found.time_s == pytest.approx(0.01)
    assert 10 <= found.num_samples <= 15


@pytest.mark.parametrize("device", [CPU, GPU], ids=lambda device: device.kind)
def test_an_unsteady_kernel_is_sampled_until_the_time_is_up(clock, device):
    found = sample([clock.kernel(*UNSTEADY)], device, Limits(time_s=1.0))
    assert not found.converged
    assert found.num_samples * 0.02 == pytest.approx(1.0, abs=0.2)


def test_a_kernel_longer_than_all_the_time_is_measured_once(clock):
    found = sample([clock.kernel(5.0)], CPU, Limits(time_s=1.0))
    assert (found.num_samples, found.time_s, found.ci_relative, found.converged) == (1, 5.0, None, False)
    assert clock.now == 10.0  # once to warm up


@pytest.mark.parametrize("device", [CPU, GPU], ids=lambda device: device.kind)
def test_launches_of_short_kernels_share_a_sample(clock, device):
    found = sample([clock.kernel(1e-6)], device, Limits(time_s=10.0))
    assert found.time_s == pytest.approx(1e-6)
    assert clock.now / found.num_samples > 5e-5


def test_a_gpu_is_kept_busy_while_launches_queue_up(clock):
    sample([clock.kernel(1e-6)], GPU, Limits(time_s=10.0, max_samples=10))
    assert clock.slept > 10 * 100 * sampling._LAUNCH_CYCLES


def test_data_are_taken_in_turn(clock):
    seen = []
    sample([lambda i=i: (seen.append(i), clock.kernel(0.01)()) for i in range(3)], CPU, Limits(time_s=0.5))
    assert seen == [i % 3 for i in range(len(seen))]


def test_all_processes_stop_together(clock):
    answers = iter([False, False, False, True])
    found = sample([clock.kernel(0.01)], CPU, Limits(time_s=1e9), lambda mine: next(answers))
    assert found.num_samples == 16


def test_launching(clock):
    for device in (CPU, GPU):
        assert launch_time_s(clock.kernel(3e-6), device, Limits(time_s=1.0)).time_s == pytest.approx(3e-6)


@pytest.mark.parametrize("once_s", [1e-4, 0.01, 0.3])
def test_holding_a_kernel(clock, once_s):
    hold([clock.kernel(once_s)], GPU, 1.0, once_s)
    assert 1.0 <= clock.now <= 1.0 + max(0.06, once_s)
