"""Models that torchtitan defines, by their dimensions."""

import functools
from dataclasses import dataclass, replace

from walltime.interop.refusal import refusal
from walltime.workload import Transformer
from walltime.workload.catalog import transformer


@dataclass(frozen=True)
class Flavor:
    """A model as torchtitan calls it: the module under ``torchtitan.models``, and the name in its registry."""

    module: str
    name: str


FLAVORS = {
    "llama-3.2-1b": Flavor("llama3", "1B"),
    "llama-3.2-3b": Flavor("llama3", "3B"),
    "llama-3.1-8b": Flavor("llama3", "8B"),
    "llama-3.1-70b": Flavor("llama3", "70B"),
    "llama-3.1-405b": Flavor("llama3", "405B"),
    "qwen3-0.6b": Flavor("qwen3", "0.6B"),
    "qwen3-1.7b": Flavor("qwen3", "1.7B"),
    "qwen3-4b": Flavor("qwen3", "4B"),
    "qwen3-8b": Flavor("qwen3", "8B"),
    "qwen3-14b": Flavor("qwen3", "14B"),
    "qwen3-32b": Flavor("qwen3", "32B"),
    "qwen3-30b-a3b": Flavor("qwen3", "30B-A3B"),
    "qwen3-235b-a22b": Flavor("qwen3", "235B-A22B"),
    "deepseek-v2-lite": Flavor("deepseek_v3", "16B"),
    "deepseek-v2": Flavor("deepseek_v3", "236B"),
    "deepseek-v3": Flavor("deepseek_v3", "671B"),
    "gpt-oss-20b": Flavor("gpt_oss", "20b"),
    "gpt-oss-120b": Flavor("gpt_oss", "120b"),
}
"""By the catalog's names; torchtitan's registries of 0.3.0."""


def flavor_of(model: Transformer) -> Flavor:
    """Return what torchtitan calls a model of these dimensions; layers of multi-token prediction are an argument.

    Raises
    ------
    NegativeAnswer
        It has none.
    """
    for name, known in _known().items():
        if replace(known, name=model.name, num_mtp_layers=model.num_mtp_layers) == model and (
            not model.num_mtp_layers or FLAVORS[name].module == "deepseek_v3"
        ):
            return FLAVORS[name]
    raise refusal("torchtitan", "model", model.name, "it has no model of these dimensions", ", ".join(FLAVORS))


@functools.cache
def _known() -> dict[str, Transformer]:
    return {name: transformer(name) for name in FLAVORS}
