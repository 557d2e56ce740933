"""Configurations as today's transformers saves them: read back, they are the catalog's models."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from walltime.interop.huggingface import read_config
from walltime.workload.catalog import transformer

transformers = pytest.importorskip("transformers", reason="the oracle needs transformers")
pytest.importorskip("torch", reason="the oracle needs torch")

pytestmark = pytest.mark.filterwarnings("ignore")  # of the oracle's own making


def oracle():
    path = Path(__file__).parents[1] / "oracle" / "test_parameters.py"
    spec = importlib.util.spec_from_file_location("oracle_parameters", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ORACLE = oracle()


@pytest.mark.parametrize("only_differences", [True, False])
@pytest.mark.parametrize(("family", "name"), ORACLE.CASES)
def test_a_saved_configuration_is_the_catalog_model(family, name, only_differences, file):
    model = transformer(name)
    config = getattr(transformers, f"{family}Config")(**ORACLE.ORACLES[family][0](model))
    imported = read_config(file("config.json", config.to_json_string(use_diff=only_differences)))
    assert replace(imported.model, name="", num_mtp_layers=0) == replace(model, name="", num_mtp_layers=0)
    assert not any("not known" in note for note in imported.notes), imported.notes
