"""What a measured row says in words: kernels, recipes, schedules. Keywords only, the same for every source."""

import re
from collections.abc import Iterable
from typing import Any

from walltime.engines.stack import AttentionKernel
from walltime.validate.measured import MeasuredRow

_VERSION = r"(?:[-_ ]?v?{}(?:\.\d+)*)\b"
_FLASH = r"(?:flash[-_ ]?(?:attention|attn|2|3)?|\bfa)"
_NO = r"(?:no|not|without|w/o|non)[-_ ]"

_ATTENTION: tuple[tuple[str, AttentionKernel], ...] = (
    (rf"{_FLASH}{_VERSION.format(3)}|cudnn|\bfused[-_ ]attention|\bte[-_ ]attention", "flash3"),
    (rf"{_FLASH}{_VERSION.format(2)}", "flash2"),
    (rf"{_FLASH}{_VERSION.format(1)}|attn_impl[=: ]+triton|triton[-_ ](?:flash|attention)", "flash1"),
    (r"sdpa|scaled[-_ ]dot[-_ ]product|xformers|memory[-_ ]efficient[-_ ]attention", "flash2"),
    (r"flash", "flash2"),
    (r"fused[-_ ]?(?:scaled[-_ ])?(?:masked[-_ ])?softmax|megatron[-_ ]?(?:fused[-_ ]?)?(?:softmax|kernel|att)"
     r"|(?:kernel|attention|attn)[a-z_ ]*[=: ]+['\"]?megatron|megatron[-_ ]fused", "fused-softmax"),
    (r"(?:unfused|naive|vanilla|eager|native|torch|pytorch|standard)[-_ ](?:attention|attn|softmax|kernels?)"
     r"|(?:kernel|attention|attn)[a-z_ ]*[=: ]+['\"]?(?:torch|pytorch|native|none|naive|eager|vanilla|unfused)\b",
     "unfused"),
)  # fmt: skip
"""The first pattern that occurs names the attention kernel."""
_FUSED_NORM = r"rms[-_ ]?(?:norm)?[-_ ]?kernel|fused[-_ ](?:rms|layer)?[-_ ]?norm|(?:rms|layer)norm[-_ ]fused|\+ ?rms"
_KERNELS_NAMED = r"kernel"

_FP8_RECIPES: tuple[tuple[str, str], ...] = (
    (r"nvfp4", "nvfp4"),
    (r"mxfp8|fp8-mx|mx[-_ ]fp8", "mxfp8"),
    (r"row-?wise", "fp8-block"),
    (r"block[-_ ]?(?:wise|scal)|hai-llm|deep[-_ ]?seek.{0,20}recipe|fp8[-_ ]sub|128x128", "fp8-block"),
)
_SCHEDULES: tuple[tuple[str, str], ...] = (
    (r"dual[-_ ]?pipe", "dualpipe"),
    (r"zb-?v|v-half|v-min|zero[-_ ]bubble[-_ ]v", "zb-v"),
    (r"zb-?h?2|zero[-_ ]bubble[-_ ]h?2", "zb-h2"),
    (r"zb-?h?1|zbb|zero[-_ ]bubble", "zb-h1"),
    (r"gpipe|all[-_ ]forward[-_ ]all[-_ ]backward|afab", "gpipe"),
)


_SWITCHES: dict[str, tuple[str, str]] = {
    "compiled": (
        r"torch[._ ]?compile(?:d|=true)?\b|compile=true|\binductor\b",
        r"(?:torch[._])?compile[=: ]+false|no[- ]compile|without (?:torch[._])?compile",
    ),
    "dropout": (
        r"(?:with|hidden|attention)[-_ ]dropout(?![=: ]+0(?:\.0*)?\b)|dropout[=: ]+0?\.\d*[1-9]",
        r"(?:no|without) dropout|dropout[=: ]+(?:0\b(?!\.\d*[1-9])|none|false)",
    ),
    "overlap_tp": (
        r"async[-_ ]?tp|tp mode reduce_scatter \+ async|tp[-_ ](?:comm[-_ ])?overlap|ub[-_ ]overlap|userbuffers",
        r"vanilla tp|no tp[-_ ]overlap",
    ),
    "fused_loss": (r"(?<!un)fused cross[- ]entropy|liger", r"unfused cross[- ]entropy"),
}
"""Fields of a stack with what says that they hold, and what says that they do not."""


def attention_kernel(row: MeasuredRow) -> AttentionKernel | None:
    """Return the attention kernel that the row names."""
    text = row.text.lower()
    if re.search(rf"{_NO}{_FLASH}", text):
        return "fused-softmax" if "megatron" in text else "unfused"
    cleaned = re.sub(r"megatron[-_ ](?:lm|core|deepspeed|bridge|turing)", "", text)
    return next((kernel for pattern, kernel in _ATTENTION if re.search(pattern, cleaned)), None)


def fused_norm(row: MeasuredRow) -> bool | None:
    """Return whether norms are fused. A row that names its kernels names all: a norm it does not name is not fused."""
    text = row.text.lower()
    if re.search(rf"(?:{_NO}|un)(?:{_FUSED_NORM})|(?:{_FUSED_NORM})[a-z_ ]*[=: ]+(?:false|no|off|0)\b", text):
        return False
    if re.search(_FUSED_NORM, text):
        return True
    names_kernels = re.search(_KERNELS_NAMED, text) and attention_kernel(row)
    return False if names_kernels else None


def stack_features(row: MeasuredRow) -> dict[str, Any]:
    """Return what the row says about its software, by field of `walltime.engines.stack.Stack`."""
    text = row.text.lower()
    said: dict[str, Any] = {"attention": attention_kernel(row), "fused_norm": fused_norm(row)}
    said |= {name: _either(text, yes, no) for name, (yes, no) in _SWITCHES.items()}
    if re.search(r"no (?:comm/?(?:unication/)?compute )?overlap", text):
        said |= dict.fromkeys(("overlap_tp", "overlap_dp", "overlap_pp"), False)
    if re.search(r"no gradient bucketing", text):
        said["overlap_dp"] = False
    said["selective"] = _either(text, r"per-op|selective[- ]op|ac=selective op", r"attention recompute|core[-_ ]attn")
    if said["selective"] is not None:
        said["selective"] = "operations" if said["selective"] else "attention"
    return {name: value for name, value in said.items() if value is not None}


def _either(text: str, yes: str, no: str) -> bool | None:
    """Return False if the denial occurs, True if the statement does, None if neither."""
    if re.search(no, text):
        return False
    return True if re.search(yes, text) else None


def other_facts(row: MeasuredRow) -> dict[str, Any]:
    """Return what else the row says that a prediction may use, by name."""
    text = row.text.lower()
    facts: dict[str, Any] = {}
    if method := re.search(r"method=(vocab-\d|redis|interlaced)", text):
        facts["vocab_parallel"] = method[1]
    if capacity := re.search(r"capacity[-_ ]factor[=: ]+(\d+(?:\.\d+)?)", text):
        facts["capacity_factor"] = float(capacity[1])
    if "token" in text and re.search(r"token[-_ ]?drop", text):
        facts["token_drop"] = True
    if re.search(r"forced?[- ]balanced", text):
        facts["balanced_routing"] = True
    if re.search(r"power[- ](?:limited|capped)", text):
        facts["power_limited"] = True
    if re.search(r"(?:float8|fp8) all-gather", text):
        facts["fp8_all_gather"] = True
    if scaling := re.search(r"(tensor-?wise|row-?wise_with_gw_hp|row-?wise|delayed|current|block-?wise)", text):
        facts["fp8_scaling"] = scaling[1].replace("-", "")
    if re.search(r"best configuration|best case|best non-", text):
        facts["best_of_many"] = True
    return facts


def precision_of(row: MeasuredRow) -> str | None:
    """Return the row's precision with its recipe, in the names of `walltime.plan.Plan`; None if it is not said."""
    text = row.text.lower()
    if row.precision == "fp4":
        return "nvfp4"
    if row.precision == "fp8":
        primary = re.sub(r"\(.*?\)|mxfp8: .*|mxfp8 in .*", "", text)
        return next((name for pattern, name in _FP8_RECIPES[1:] if re.search(pattern, primary)), "fp8")
    return row.precision or None


def schedule_of(row: MeasuredRow) -> str:
    """Return the pipeline schedule that the row names; 1F1B where it names none."""
    text = re.sub(r"schedule vpp.*", "", row.text.lower())
    return next((name for pattern, name in _SCHEDULES if re.search(pattern, text)), "1f1b")


def says(row: MeasuredRow, *patterns: str) -> bool:
    """Return whether any of these patterns occurs in the row's words."""
    return any(re.search(pattern, row.text.lower()) for pattern in patterns)


def number_after(row: MeasuredRow, patterns: Iterable[str]) -> int | None:
    """Return the first group of the first pattern that occurs, as a whole number."""
    for pattern in patterns:
        if found := re.search(pattern, row.text.lower()):
            return int(found[1])
    return None
