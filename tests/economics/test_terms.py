"""Terms and settings: what is read, and what is refused with the field's name."""

import pytest

from walltime.economics.terms import Terms, is_setting, settings
from walltime.problems import BadInput


def test_values_are_in_the_unit_of_the_field_or_carry_their_own():
    read = settings(["power.pue=1.1", "failures.restart_s=10min", "power.idle_w=70W", "power.host_w = 150"])
    assert read == {"power.pue": 1.1, "failures.restart_s": 600.0, "power.idle_w": 70.0, "power.host_w": 150.0}


def test_a_setting_of_hardware_is_none_of_ours():
    assert is_setting("power.pue=1.1")
    assert not is_setting("network.latency=0.5x")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("power.pu=1", "Did you mean 'power.pue'"),
        ("power.pue=x", "is not a number"),
        ("power.pue=0.5", "at least 1"),
        ("power.pue=", "is not field=value"),
        ("failures.restart_s=10 GB", "unknown unit 'GB'"),
        ("cost.years=nan", "positive, finite"),
        ("cost.years=-1", "positive, finite"),
        ("cost.years=inf", "positive, finite"),
    ],
)
def test_bad_settings_name_the_field(text, said):
    with pytest.raises(BadInput, match=said):
        settings([text])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"owned": "no"}, "owned='no' must be True or False"),
        ({"price_usd_per_gpu_hour": 3}, "must map names to numbers"),
        ({"price_usd_per_gpu_hour": {"h100-sxm": "2"}}, "'h100-sxm' is '2'"),
        ({"price_usd_per_gpu_hour": {"h1oo-sxm": 2.0}}, "h1oo-sxm"),
        ({"price_usd_per_gpu_hour": {"h100": 2.0}}, "an alias. Valid: h100-sxm"),
        ({"owned": True, "price_usd_per_gpu_hour": {"h100-sxm": 2.0}}, "both say what an hour costs"),
        ({"settings": 3}, "must map names to numbers"),
        ({"settings": {"power.pue": True}}, "'power.pue' is True"),
        ({"settings": {"power.limit_w": 300.0}}, "unknown field"),
        ({"settings": {"cost.years": 3.0}}, "Valid: --owned, or owned=True"),
    ],
)
def test_terms_that_do_not_go_together(given, said):
    with pytest.raises(BadInput, match=said):
        Terms(**given)


def test_terms_refuse_what_cannot_be():
    with pytest.raises(BadInput, match="price of h100"):
        Terms(price_usd_per_gpu_hour={"h100-sxm": float("nan")})
    with pytest.raises(BadInput, match="puee"):
        Terms(settings={"power.puee": 1.0})
