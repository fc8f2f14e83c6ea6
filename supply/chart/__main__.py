"""Write the chart anew from the manifests, the schemas in docs/ and values.yaml: `make chart`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from supply.chart import values
from supply.chart.kustomize import MANIFESTS, rendered
from supply.chart.table import TABLE
from supply.chart.templates import HEADER, templates

CHART = MANIFESTS / "chart"
DOCS = MANIFESTS.parent / "docs"
PAGE_HEAD = "| value | default | what |\n|---|---|---|\n"


def files(kubectl: str) -> dict[Path, str]:
    """What the chart's written files have to be, by their path in the chart."""
    found = values.read((CHART / "values.yaml").read_text())
    issuer, options = (json.loads((DOCS / f"{name}.schema.json").read_text()) for name in ("issuer", "options"))
    schema = json.dumps(values.schema(found, issuer, options), indent=2) + "\n"
    page, head, _ = (CHART / "README.md").read_text().partition(PAGE_HEAD)
    made = {Path("values.schema.json"): schema, Path("README.md"): page + head + values.table(found)}
    variants = {variant.name: rendered(kubectl, variant.name) for variant in TABLE.variants}
    made_of_manifests = templates(TABLE, rendered(kubectl), variants)
    return made | {Path("templates", name): text for name, text in made_of_manifests.items()}


def written() -> set[Path]:
    """The files of the chart that were written by this, as they are there now."""
    found = {path for path in (CHART / "templates").glob("*.yaml") if path.read_text().startswith(HEADER)}
    return {path.relative_to(CHART) for path in found} | {Path("values.schema.json"), Path("README.md")}


def main(kubectl: str) -> None:
    """With the program kubectl."""
    made = files(kubectl)
    for path in written() - made.keys():
        (CHART / path).unlink()
    for path, text in made.items():
        (CHART / path).write_text(text)


if __name__ == "__main__":
    main(sys.argv[1])
