"""certjob's manifests for another namespace than `certjob`:

    kubectl kustomize overlay/ | python -m supply.elsewhere NAMESPACE | kubectl apply -f -

kustomize's own `namespace:` does not reach into the admission policies. Those name it in CEL in just two spellings,
as conditions cannot use variables; all else are fields, and no others than here (`tests/unit/test_elsewhere.py`).
"""

from __future__ import annotations

import re
import sys
from typing import Any

import yaml

HERE = "certjob"
SPELLINGS = re.compile(rf"(?<=system:serviceaccount:){HERE}(?=:)|(?<=request\.namespace [!=]= '){HERE}(?=')")
"""In CEL."""
EXPRESSIONS = frozenset({"expression", "messageExpression"})
"""Fields that are CEL."""
LABEL = "kubernetes.io/metadata.name"
"""Of every namespace, with its name: selectors match it by `matchLabels` and `matchExpressions`."""


def elsewhere(value: Any, namespace: str) -> Any:
    """A copy of an object of the manifests, or of a part of one, that belongs to `namespace`. Pure."""
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


def main(namespace: str) -> None:
    """From standard input to standard output, both YAML."""
    documents = (elsewhere(each, namespace) for each in yaml.safe_load_all(sys.stdin) if each is not None)
    yaml.safe_dump_all(documents, sys.stdout, sort_keys=False, allow_unicode=True, width=2**20)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not re.fullmatch("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", sys.argv[1]):
        sys.exit("usage: python -m supply.elsewhere NAMESPACE < manifests > manifests of that namespace")
    main(sys.argv[1])
