"""Sphinx settings: MyST pages, NumPy-style docstrings, one bibliography for data, docstrings and pages."""

from importlib.metadata import version as installed_version

project = "walltime"
author = "The walltime authors"
copyright = "2026, The walltime authors"  # noqa: A001 (Sphinx's name)
version = release = installed_version("walltime")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinxcontrib.bibtex",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_google_docstring = False
napoleon_custom_sections = ["Approximations"]

bibtex_bibfiles = ["../src/walltime/data/sources.bib"]
bibtex_reference_style = "author_year"

html_theme = "furo"
html_title = "walltime"
