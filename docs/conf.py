"""Settings of Sphinx; ``make docs`` builds the pages."""

from __future__ import annotations

import dfml

project = "dfml"
author = "The dfml developers"
project_copyright = author
version = release = dfml.__version__

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc"]
exclude_patterns = ["_build", "changes"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
numpydoc_show_class_members = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # numpydoc says it in words
add_module_names = False

html_theme = "alabaster"
html_title = f"dfml {version}"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "description": "scikit-learn models on tables larger than memory",
    "fixed_sidebar": True,
    "page_width": "1080px",
    "sidebar_width": "240px",
    "show_powered_by": False,
    "font_family": "system-ui, sans-serif",
    "head_font_family": "system-ui, sans-serif",
}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
