"""Text and drawings as HTML: escaped, with powers of ten and indices as they are written by hand."""

import re
from html import escape

from walltime.units import format_flop

_POWER = re.compile(r"\b(\d+(?:\.\d+)?)e\+?(\d+)\b")
_INDEX = re.compile(r"\bT_(\w+)\b")
_ADDRESS = re.compile(r"https?://[^\s<>]+[^\s<>.,;)]")
_NUMBERED = re.compile(r'(\bid="|url\(#|href="#)([^")]+)')


def prose(text: str) -> str:
    """Return plain text as HTML: ``2.05e28`` with an exponent, ``T_crit`` with an index.

    Examples
    --------
    >>> prose("T_crit < 2.0e28")
    'T<sub>crit</sub> &lt; 2.0&#8239;×&#8239;10<sup>28</sup>'
    """
    with_indices = _INDEX.sub(r"T<sub>\1</sub>", escape(text, quote=False))
    return _POWER.sub(r"\1&#8239;×&#8239;10<sup>\2</sup>", with_indices)


def flop(value: float | None, digits: int = 3, missing: str = "none found") -> str:
    """Return a FLOP count as HTML."""
    return f'<span class="none">{missing}</span>' if value is None else prose(format_flop(value, digits))


def with_links(text: str) -> str:
    """Return plain text as HTML, web addresses as links: the only ones on a page that lead outside."""
    return _ADDRESS.sub(lambda found: f'<a href="{found[0]}">{found[0]}</a>', escape(text))


def paragraphs(text: str) -> str:
    """Return paragraphs, set apart by empty lines; lines that begin with a dash are a list."""
    blocks = (block.strip() for block in re.split(r"\n\s*\n", text))
    return "\n".join(_block(block) for block in blocks if block)


def _block(block: str) -> str:
    before, *items = re.split(r"^\s*- +", block, flags=re.MULTILINE)
    paragraph = f"<p>{prose(before.strip())}</p>" if before.strip() else ""
    entries = "".join(f"<li>{prose(item.strip())}</li>" for item in items)
    return paragraph + (f"<ul>{entries}</ul>" if items else "")


def svg_element(svg: str, prefix: str) -> str:
    """Return an SVG file as an element of a page: as wide as its box, with ids that no other drawing has."""
    element = svg[svg.index("<svg") :].strip()
    element = re.sub(r"<!--.*?-->\s*", "", element, flags=re.DOTALL)
    element = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", element, count=1, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', element))
    element = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", element)
    element = _NUMBERED.sub(rf"\1{prefix}-\2", element.replace("xlink:href", "href"))
    head, rest = element.split(">", 1)
    head = re.sub(r' (?:width|height|version|xmlns(?::xlink)?)="[^"]*"', "", head)
    return f'{head} style="stroke-linejoin:round;stroke-linecap:butt">{rest}'
