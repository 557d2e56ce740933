"""Power of boards, nodes and fabrics: hand-computed numbers and what holds of any."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from walltime.physics.power import fabric_power_w, fat_tree_levels, host_power_w, mean_power_w

PARTS = ("matmul", "memory_bound", "dp_comm", "host")
TIMES = st.fixed_dictionaries({name: st.floats(0, 1e3) for name in PARTS})
POWERS = st.fixed_dictionaries({name: st.floats(1, 2e3) for name in PARTS})


def test_mean_is_weighed_by_time():
    parts = {"matmul": np.array([3.0, 1.0]), "dp_comm": np.array([1.0, 0.0])}
    found = mean_power_w(parts, {"matmul": 600.0, "dp_comm": 400.0}, 700.0)
    assert found == pytest.approx([550.0, 600.0])


def test_the_limit_binds_in_each_part():
    parts = {"matmul": 1.0, "host": 1.0}
    assert float(mean_power_w(parts, {"matmul": 900.0, "host": 100.0}, 700.0)) == 400.0


@given(TIMES, POWERS, st.floats(10, 1e3))
def test_mean_lies_between_the_least_and_the_most_drawn(times, powers, limit):
    times["matmul"] += 1e-3
    found = float(mean_power_w(times, powers, limit))
    drawn = [min(power, limit) for power in powers.values()]
    assert min(drawn) * (1 - 1e-12) <= found <= max(drawn) * (1 + 1e-12)


@given(TIMES, POWERS, st.floats(1e-3, 1e3))
def test_power_does_not_depend_on_how_long_a_step_is(times, powers, stretch):
    times["matmul"] += 1e-3
    longer = {name: time_s * stretch for name, time_s in times.items()}
    assert float(mean_power_w(longer, powers, 700.0)) == pytest.approx(float(mean_power_w(times, powers, 700.0)))


def test_host_is_what_a_node_has_left():
    assert host_power_w(8400.0, 8, 700.0, 1.0) == pytest.approx(350.0)
    assert host_power_w(10200.0, 8, 700.0, 0.6) == pytest.approx(345.0)
    assert host_power_w(5000.0, 8, 700.0, 0.6) == 0.0


@given(st.integers(2, 10**6), st.sampled_from([4, 36, 40, 64, 144]))
def test_a_fat_tree_has_the_fewest_levels_that_reach_all(num, ports):
    levels = fat_tree_levels(num, ports)
    assert 2 * (ports / 2) ** levels >= num
    assert levels == 1 or 2 * (ports / 2) ** (levels - 1) < num
    assert fat_tree_levels(num + 1, ports) >= levels


@pytest.mark.parametrize(("num", "switches"), [(64, 1), (2048, 96), (65536, 5120)])
def test_ports_of_a_full_fat_tree_are_those_of_its_switches(num, switches):
    """One switch; 64 leaves and 32 spines; the k-ary tree of 5k^2/4 switches of k ports."""
    levels = fat_tree_levels(num, 64)
    assert num * fabric_power_w(levels, 1.0, 0.0) == switches * 64


def test_each_link_of_a_fabric_has_two_ends():
    assert fabric_power_w(0, 12.0, 9.0) == 0.0
    assert fabric_power_w(1, 0.0, 9.0) == 18.0
    assert fabric_power_w(3, 0.0, 9.0) == 54.0
