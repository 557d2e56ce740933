"""What an hour of an accelerator costs: arithmetic by hand, parts that add up, and the prices of others."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from walltime.catalog import AcceleratorRecord, parameter_set
from walltime.catalog.ownership import server_price_usd_per_gpu
from walltime.economics.cost import (
    Ownership,
    annuity_usd_per_year,
    ownership,
    ownership_range,
    rental_usd_per_gpu_hour,
)
from walltime.hardware import cluster
from walltime.problems import BadInput

H100_W = 1300.0
"""About what an H100 takes at the meter, with its share of host, network and cooling."""
SIMPLE = Ownership(
    capital_usd=43830,
    years=5,
    residual_share=0,
    interest_per_year=0,
    maintenance_per_year=0.1,
    hosting_usd_per_kw_month=100,
    provisioned_w=1000,
    electricity_usd_per_kwh=0.1,
    used_share=1,
)
COSTS = (
    "capital_usd",
    "interest_per_year",
    "maintenance_per_year",
    "hosting_usd_per_kw_month",
    "provisioned_w",
    "electricity_usd_per_kwh",
)
RELIEFS = ("years", "residual_share", "used_share")
amounts = st.floats(1, 1e6)
OWNERS = st.builds(
    Ownership,
    capital_usd=amounts,
    years=st.floats(1, 20),
    residual_share=st.floats(0, 0.9),
    interest_per_year=st.floats(0, 0.5),
    maintenance_per_year=st.floats(0, 0.5),
    hosting_usd_per_kw_month=st.floats(0, 500),
    provisioned_w=st.floats(0, 5000),
    electricity_usd_per_kwh=st.floats(0, 1),
    used_share=st.floats(0.1, 1),
)


def test_an_annuity_by_hand():
    """1,000 at 10 % over three years: payments of 402.11, as tables of annuities have it (1 / 2.48685)."""
    payment = annuity_usd_per_year(1000, 0, years=3, interest_per_year=0.1)
    assert payment == pytest.approx(402.1148, abs=1e-4)
    owed = 1000.0
    for _ in range(3):
        owed = owed * 1.1 - payment
    assert owed == pytest.approx(0, abs=1e-9)


def test_what_is_left_at_the_end_pays_back_the_residual_value():
    payment = annuity_usd_per_year(1000, 300, years=4, interest_per_year=0.08)
    owed = 1000.0
    for _ in range(4):
        owed = owed * 1.08 - payment
    assert owed == pytest.approx(300)


def test_without_interest_the_price_is_spread_evenly_and_nearly_so_with_very_little():
    assert annuity_usd_per_year(1000, 200, years=4, interest_per_year=0) == 200
    assert annuity_usd_per_year(1000, 200, years=4, interest_per_year=1e-12) == pytest.approx(200)


def test_parts_by_hand():
    """43,830 dollars over five years of 8,766 hours are a dollar an hour."""
    parts = {name: float(part) for name, part in SIMPLE.parts_usd_per_gpu_hour(1000).items()}
    assert parts == pytest.approx({"capital": 1, "maintenance": 0.5, "hosting": 1200 / 8766, "power": 0.1})


@given(OWNERS, st.lists(st.floats(0, 5000), min_size=1, max_size=4))
def test_parts_add_up_exactly_and_none_is_negative(owned, facility_w):
    drawn = np.array(facility_w)
    parts = owned.parts_usd_per_gpu_hour(drawn)
    assert all(part.shape == drawn.shape and (part >= 0).all() for part in parts.values())
    np.testing.assert_array_equal(sum(parts.values()), owned.usd_per_gpu_hour(drawn))


@given(OWNERS, st.sampled_from(COSTS + RELIEFS), st.floats(1, 2))
def test_more_of_a_cost_never_makes_an_hour_cheaper_and_more_of_a_relief_never_dearer(owned, name, factor):
    value = getattr(owned, name) * factor
    other = replace(owned, **{name: min(value, 1.0) if name.endswith("_share") else value})
    here, there = float(owned.usd_per_gpu_hour(H100_W)), float(other.usd_per_gpu_hour(H100_W))
    dearer = there - here if name in COSTS else here - there
    assert dearer >= -1e-9 * here


def test_more_power_costs_electricity_and_no_hosting():
    few, many = (SIMPLE.parts_usd_per_gpu_hour(watts) for watts in (500, 1000))
    assert many["power"] == 2 * few["power"]
    assert many["hosting"] == few["hosting"]


def test_idle_hours_are_paid_but_draw_nothing():
    half = replace(SIMPLE, used_share=0.5).parts_usd_per_gpu_hour(1000)
    full = SIMPLE.parts_usd_per_gpu_hour(1000)
    assert half["power"] == full["power"]
    for name in ("capital", "maintenance", "hosting"):
        assert half[name] == pytest.approx(2 * full[name])


def test_every_field_is_a_plain_number():
    owned = ownership(cluster("h100-sxm"))
    assert all(type(getattr(owned, field.name)) is float for field in fields(owned))
    assert {field.name for field in fields(owned)} == {*COSTS, *RELIEFS}


def test_an_owned_h100_costs_half_to_once_what_a_rented_one_does():
    owned = float(ownership(cluster("h100-sxm")).usd_per_gpu_hour(H100_W))
    assert 0.5 < owned / rental_usd_per_gpu_hour("h100-sxm") < 1.2


@pytest.mark.parametrize(
    ("published_usd", "where"),
    [
        (50_000, "lesswrong2025chips: an H100 system costs about $50K per chip, network included"),
        ((39_680_000 + 1_728_000 + 2_621_440) / 1024, "recursal2024clusters: 1,024 H100s, nodes, switches and cables"),
    ],
)
def test_capital_per_h100_is_near_what_others_count(published_usd, where):
    assert ownership(cluster("h100-sxm")).capital_usd == pytest.approx(published_usd, rel=0.15), where


def test_an_hour_is_near_what_others_count():
    """lesswrong2025chips: paid back in three years, operation below 20 %: 2.3 dollars an H100-hour."""
    plain = replace(
        ownership(cluster("h100-sxm")), years=3.0, interest_per_year=0.0, residual_share=0.0, used_share=1.0
    )
    assert float(plain.usd_per_gpu_hour(H100_W)) == pytest.approx(2.3, rel=0.2)


@pytest.mark.parametrize("name", parameter_set("datasheet").ids(AcceleratorRecord))
def test_what_is_not_known_is_none_never_zero(name):
    owned, ends = ownership(cluster(name)), ownership_range(cluster(name))
    known = server_price_usd_per_gpu(name) is not None
    assert (owned is not None) == known == (ends is not None)
    if owned is None:
        return
    cheap, usual, dear = (float(one.usd_per_gpu_hour(H100_W)) for one in (ends[0], owned, ends[1]))
    assert 0 < cheap < usual < dear


def test_accelerators_that_nobody_prices_are_not_known():
    for name in ("tpu-v5p", "a800", "b200-power-limited", "gtx-580"):
        assert ownership(cluster(name)) is None
    assert rental_usd_per_gpu_hour("a800") is None
    assert rental_usd_per_gpu_hour("no such accelerator") is None


def test_the_accelerators_of_the_study_have_prices():
    for name in ("v100-sxm-16gb", "v100-sxm-32gb", "a100-sxm-80gb", "h100-sxm", "h200", "b200", "gb200"):
        assert rental_usd_per_gpu_hour(name) > 0
        assert ownership(cluster(name)).capital_usd > 1e4


def test_the_parameter_set_does_not_change_what_ownership_costs():
    assert ownership(cluster("h100-sxm", parameters="Erdil2024")) == ownership(cluster("h100-sxm"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"years": 0.0}, r"years=0 is not possible\. Valid: more than 0\."),
        ({"used_share": 0.0}, r"used_share=0 is not possible\. Valid: more than 0\."),
        ({"used_share": 1.5}, r"used_share=1\.5 is not possible\. Valid: a share, at most 1\."),
        ({"residual_share": 2.0}, r"residual_share=2\.0 is not possible"),
        ({"capital_usd": -1.0}, r"capital_usd=-1\.0 is not possible\. Valid: a number, 0 or more\."),
        ({"interest_per_year": float("nan")}, r"interest_per_year=nan is not possible"),
        ({"electricity_usd_per_kwh": float("inf")}, r"electricity_usd_per_kwh=inf is not possible"),
    ],
)
def test_what_no_owner_can_have_is_refused(change, message):
    with pytest.raises(BadInput, match=message) as refusal:
        replace(SIMPLE, **change)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("facility_w", [-1.0, float("nan"), float("inf"), np.array([1.0, -2.0])])
def test_a_power_that_cannot_be_is_refused(facility_w):
    with pytest.raises(BadInput, match="facility_w="):
        SIMPLE.usd_per_gpu_hour(facility_w)
