"""The site: `make site` makes pages of the Markdown as it is. Offline; a link that leads nowhere ends it."""

from typing import Any

CONTENTS = {
    "Set up": "helm, Values of the chart <manifests/chart/README>, gitops, kubernetes-versions, issuers, "
    "acme-servers, dns, hosts, requests, moving, living-with",
    "Operate": "cli, page, monitoring, metrics, runbook, troubleshooting",
    "Explained": "how-it-works, security, reliability, architecture",
    "The project": "CHANGELOG, CONTRIBUTING, SECURITY, cluster",
}
"""The contents beside each page. What is not here fails the build."""

project = html_title = "certjob"
extensions = ["myst_parser"]
include_patterns = ["*.md", "docs/*.md", "manifests/chart/README.md"]
exclude_patterns = [".*", "**/__pycache__"]
root_doc = "README"
html_theme = "furo"
html_copy_source = html_show_copyright = html_use_index = smartquotes = False
myst_heading_anchors = 6


def contents(app: Any, page: str, source: list[str]) -> None:
    """GitHub shows README as it is: only the site adds what Sphinx takes the contents from."""
    if page == root_doc:
        for caption, names in CONTENTS.items():
            pages = [name if name.isupper() or "/" in name else f"docs/{name}" for name in names.split(", ")]
            source[0] += "\n".join(["\n", "```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```", ""])


def setup(app: Any) -> None:
    """Sphinx calls it."""
    app.connect("source-read", contents)
