"""Equations as MathML, converted when the pages are built: no script, and nothing is fetched to show them."""

from typing import Any

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import wrap_displaymath


def setup(app: Sphinx) -> dict[str, Any]:
    """Offer the renderer ``mathml``."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(_mathml(node, node.astext(), block=False))
    raise nodes.SkipNode


def _display(translator: Any, node: nodes.math_block) -> None:
    tex = node.astext().strip()
    if r"\\" in tex and r"\begin{" not in tex:
        tex = wrap_displaymath(tex, None, False)
    translator.body.append(translator.starttag(node, "div", CLASS="math"))
    translator.body.append(_mathml(node, tex, block=True) + "</div>\n")
    raise nodes.SkipNode


def _mathml(node: nodes.Element, tex: str, block: bool) -> str:
    try:
        return latex2mathml.tex2mathml(tex, as_block=block)
    except MathError as error:
        logging.getLogger(__name__).warning("no MathML for %r: %s", tex, error, location=node)
        return tex
