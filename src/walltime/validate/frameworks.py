"""Which software stack a measured row ran on, from its framework column, by keywords in order."""

import re
from dataclasses import dataclass

from walltime.validate.measured import MeasuredRow


@dataclass(frozen=True)
class FrameworkRule:
    """Rows whose framework contains the pattern ran on this stack."""

    pattern: str
    stack: str


HARNESS_STACK = "pytorch"
"""The stack of rows that ``walltime measure train`` wrote."""
RULES: tuple[FrameworkRule, ...] = (
    FrameworkRule(r"walltime[- ]measure", HARNESS_STACK),
    FrameworkRule(r"maxtext|paxml|\bpax\b|praxis|\bjax\b|t5x|mesh[- ]?(tf|tensor)|\bxla\b|\balpa\b", "maxtext"),
    FrameworkRule(r"torch-?titan|torchao", "torchtitan"),
    FrameworkRule(r"nanotron|picotron", "nanotron"),
    FrameworkRule(r"intern-?evo|internlm", "internevo"),
    FrameworkRule(r"megatron[-_ ]?deep-?speed|deep-?speed.{0,20}megatron|neox|mt-?nlg|bigsci", "megatron-deepspeed"),
    FrameworkRule(r"nemo[-_ ]?megatron 22|nemo[-_ ]?megatron 23\.0[1-3]", "nemo-megatron-2022"),
    FrameworkRule(
        r"megatron[- ]?bridge|nemo[ -]*(?:nemo|v)? ?2[5-9]\.(?:0[4-9]|1\d)|\(v2[5-9]\.(?:0[4-9]|1\d)"
        r"|nemo[ -]*(?:nemo|v)? ?2[6-9]|\(v2[6-9]\.|primus|transformer ?engine 2",
        "megatron-core",
    ),
    FrameworkRule(
        r"nemo\b|megatron[- ]?bridge|megatron[- ]?core|\bmcore|primus|transformer ?engine|megascale|hai-llm|pai-mega",
        "megatron-core-2024",
    ),
    FrameworkRule(r"megatron-lm \(modified\)", "megatron-lm-2024"),
    FrameworkRule(r"aleph|hagemann|\bscaling\b", "aleph-scaling"),
    FrameworkRule(r"deep-?speed|\bzero-?(1|2|3|infinity|offload|\b)", "deepspeed"),
    FrameworkRule(
        r"llm-?foundry|composer|mosaic|\bfsdp|fairscale|metaseq|axolotl|llama-?factory|hugging ?face|accelerate"
        r"|lightning|\btrl\b|\blitgpt|olmo",
        "fsdp1",
    ),
)
"""Megatron-LM itself is told apart by its year, see `stack_of`."""
FALLBACK = "generic"
_TECHNIQUES = (
    r"\bzero[- ]?(?:\d|infinity|offload|\b)|\b[fh]sdp\d?|\bscaling\b|\baccelerate|\bcomposer|\blightning|\bxla\b"
    r"|transformer ?engine"
)
"""Words of notes that name no framework, though the same word in the column does."""
_MEGATRON_BY_YEAR = ((2020, "megatron-lm-2020"), (2021, "megatron-lm-2021"), (2022, "megatron-lm-2022"))
_TORCHTITAN_OF_2025 = "torchtitan-2025"
STACKS = tuple(
    dict.fromkeys(
        [*(rule.stack for rule in RULES), *(stack for _, stack in _MEGATRON_BY_YEAR), _TORCHTITAN_OF_2025, FALLBACK]
    )
)
"""Every stack id that a row can be given."""


def stack_of(row: MeasuredRow) -> str:
    """Return the id of the row's software stack; ``generic`` where no rule fits.

    The framework decides; where there is none, the first of notes and source id that names one.
    """
    for said in (row.framework, _named(row.notes), _named(row.source_id.replace("_", " "))):
        found = _stack_named(row, said.lower())
        if row.framework or found != FALLBACK:
            return found
    return FALLBACK


def _named(text: str) -> str:
    """Return the text without words that are techniques of many frameworks, not the name of one."""
    return re.sub(_TECHNIQUES, " ", text.lower())


def _stack_named(row: MeasuredRow, name: str) -> str:
    for rule in RULES:
        if re.search(rule.pattern, name):
            return _of_its_year(rule.stack, row)
    if "megatron" in name:
        return _megatron(row, name)
    return FALLBACK


def _of_its_year(stack: str, row: MeasuredRow) -> str:
    """Tell torchtitan of 2025 from that of 2024: by the year in the source's reference or the release of PyTorch."""
    if stack != "torchtitan":
        return stack
    is_new = re.search(r"20250[3-9]|2025-|torch 2\.[789]|torchao", f"{row.source_ref} {row.text}".lower())
    return _TORCHTITAN_OF_2025 if is_new else stack


def _megatron(row: MeasuredRow, name: str) -> str:
    """Tell Megatron-LM of different years apart: by the year named, else by what the row uses."""
    year = re.search(r"\b(20[12]\d)\b", name)
    if year:
        return next((stack for last, stack in _MEGATRON_BY_YEAR if int(year[1]) <= last), "megatron-core-2024")
    text = row.text.lower()
    if re.search(r"h[12]00|h800|h20\b|b[23]00|mi3", row.gpu.lower()) or "flash" in text or row.precision == "fp8":
        return "megatron-core-2024"
    if row.sequence_parallel or row.activation_recompute == "selective":
        return "megatron-lm-2022"
    if "v100" in row.gpu.lower():
        return "megatron-lm-2020"
    return "megatron-lm-2021"
