"""What is said under a figure is true of the reading that it shows."""

from dataclasses import replace

import pytest

from walltime.engines import Assumptions
from walltime.limits import frontier
from walltime.studies import erdil2024

CHOICES = {"as_published": "smallest", "corrected": "most_efficient"}


@pytest.mark.parametrize("mode", CHOICES)
def test_hardware_generations_names_the_cluster_that_its_curves_take(monkeypatch, mode):
    short = {
        key: frontier(replace(erdil2024.question(key, "as_published"), widths=(12288, 14336)))
        for key in map(erdil2024.CurveKey, ("v100-sxm", "a100-sxm", "h100-sxm"))
    }
    monkeypatch.setattr(erdil2024, "frontier_of", lambda key, _: short[key])
    caption = erdil2024.hardware_generations(erdil2024.Study(mode)).caption
    assert Assumptions.named(mode).cluster_choice == CHOICES[mode]
    assert [f"the {choice.replace('_', ' ')} sufficient cluster" in caption for choice in CHOICES.values()] == [
        choice == CHOICES[mode] for choice in CHOICES.values()
    ]
