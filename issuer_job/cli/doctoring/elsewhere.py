"""certjob's manifests for another namespace than `certjob`. Pure.

kustomize's own `namespace:` does not reach into the admission policies. Those name it in CEL in just two spellings,
as conditions cannot use variables; all else are fields, and no others than here (`tests/unit/test_elsewhere.py`).
"""

from __future__ import annotations

import re
from typing import Any

HERE = "certjob"
SPELLINGS = re.compile(rf"(?<=system:serviceaccount:){HERE}(?=:)|(?<=request\.namespace [!=]= '){HERE}(?=')")
"""In CEL."""
EXPRESSIONS = frozenset({"expression", "messageExpression"})
"""Fields that are CEL."""
LABEL = "kubernetes.io/metadata.name"
"""Of every namespace, with its name: selectors match it by `matchLabels` and `matchExpressions`."""


def elsewhere(value: Any, namespace: str) -> Any:
    """A copy of an object of the manifests, or of a part of one, that belongs to `namespace`."""
    if isinstance(value, list):
        return [elsewhere(each, namespace) for each in value]
    if not isinstance(value, dict):
        return value
    made = {key: _field(key, each, namespace) for key, each in value.items()}
    if value.get("kind") == "Namespace" and value["metadata"]["name"] == HERE:
        made["metadata"]["name"] = namespace
    if value.get("key") == LABEL and "values" in value:
        made["values"] = [namespace if each == HERE else each for each in value["values"]]
    return made


def _field(key: str, value: Any, namespace: str) -> Any:
    if not isinstance(value, str):
        return elsewhere(value, namespace)
    if key == "externalName":
        return value.replace(f".{HERE}.svc", f".{namespace}.svc")
    if key in EXPRESSIONS:
        return SPELLINGS.sub(namespace, value)
    return namespace if key in {"namespace", LABEL} and value == HERE else value
