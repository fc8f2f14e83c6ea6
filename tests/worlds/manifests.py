"""The manifests as objects, as kustomize makes them from base and patches; no cluster and no kubectl needed."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import jsonpatch
import yaml

from tests.worlds.documents import MANIFESTS

BASE = MANIFESTS / "base"
OLDER = MANIFESTS / "before-1.36"
Json = dict[str, Any]


@cache
def documents() -> tuple[Json, ...]:
    """Every object that the base lists."""
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    return tuple(d for name in listed for d in yaml.safe_load_all((BASE / name).read_text()))


@cache
def older() -> dict[tuple[str, str], Json]:
    """Every object that is installed on clusters before 1.36, by kind and name."""
    found = {(d["kind"], d["metadata"]["name"]): copy.deepcopy(d) for d in documents()}
    for patch in yaml.safe_load((OLDER / "kustomization.yaml").read_text())["patches"]:
        target, change = (patch["target"]["kind"], patch["target"]["name"]), yaml.safe_load(patch["patch"])
        if isinstance(change, dict):
            assert (change["$patch"], change["kind"], change["metadata"]) == (
                "delete",
                target[0],
                {"name": target[1]},
            )
            del found[target]
        else:
            found[target] = jsonpatch.apply_patch(found[target], change)
    return found


@cache
def optional() -> tuple[Json, ...]:
    """Every object that an operator may apply besides, and every component."""
    files = sorted((MANIFESTS / "optional").rglob("*.yaml"))
    return tuple(d for path in files for d in yaml.safe_load_all(path.read_text()))
