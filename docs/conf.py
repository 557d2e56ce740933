"""Sphinx settings: MyST pages, NumPy-style docstrings, one bibliography for data, docstrings and pages."""

import re
import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import catalog_tables  # noqa: E402  (beside this file)
import figures  # noqa: E402

project = "walltime"
author = "The walltime authors"
copyright = "2026, The walltime authors"  # noqa: A001 (Sphinx's name)
version = release = installed_version("walltime")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "mathml",
    "sphinxcontrib.bibtex",
]
exclude_patterns = ["_build"]
default_role = "py:obj"

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

add_module_names = False
autodoc_member_order = "bysource"
doctest_global_setup = "from walltime.api import cluster, limits"
autodoc_typehints = "description"
napoleon_google_docstring = False
napoleon_custom_sections = ["Approximations"]

bibtex_bibfiles = ["../src/walltime/data/sources.bib"]
bibtex_reference_style = "author_year"

html_math_renderer = "mathml"
html_theme = "furo"
html_title = "walltime"
html_static_path = ["_static"]
html_css_files = ["walltime.css"]


def _fill_in_tables(app: Any, docname: str, source: list[str]) -> None:
    """Put the catalog's tables where a page has ``% catalog: NAME``."""
    source[0] = re.sub(r"^% catalog: (\w+)$", lambda m: catalog_tables.page_part(m[1]), source[0], flags=re.MULTILINE)


def setup(app: Any) -> None:
    """Compute what pages show: tables of the catalog, figures of the study."""
    app.connect("builder-inited", lambda _: figures.write(HERE / "_generated"))
    app.connect("source-read", _fill_in_tables)
