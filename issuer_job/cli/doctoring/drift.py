"""What is installed, compared with the manifests. Pure.

What bounds certjob's rights has to be exactly as the manifests have it, but for what the API server fills in. Of the
rest overlays may change much: there it is enough that what the manifests say is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from issuer_job.cluster.api import Json

STRICT = frozenset(
    {
        "ClusterRole",
        "ClusterRoleBinding",
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
        "Role",
        "RoleBinding",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    }
)
"""Kinds that bound rights."""
OPERATORS = frozenset({"ConfigMap", "Job", "Namespace", "NetworkPolicy", "ResourceQuota"})
"""Kinds that are the operator's to change, or are looked at by themselves: they only have to be there."""
LOOSE = frozenset({"NetworkPolicy", "PriorityClass", "ResourceQuota"})
"""Kinds that may be missing."""
_FILLED_IN: Mapping[str, tuple[Any, ...]] = {
    "matchPolicy": ("Equivalent",),
    "namespaceSelector": ({},),
    "objectSelector": ({},),
    "scope": ("*",),
    "apiGroup": ("rbac.authorization.k8s.io", ""),
    "failurePolicy": ("Fail",),
    "reinvocationPolicy": ("Never",),
    "auditAnnotations": ([],),
}
"""What the API server adds where nothing is said."""
_OVERLAYS = frozenset(
    {
        "affinity",
        "hostUsers",
        "image",
        "imagePullPolicy",
        "imagePullSecrets",
        "nodeSelector",
        "replicas",
        "resources",
        "runtimeClassName",
        "schedule",
        "tolerations",
        "topologySpreadConstraints",
    }
)
"""Fields that are an overlay's."""
_VARIABLES = frozenset({"CERTJOB_SWEEP_INTERVAL"})

Key = tuple[str, str]
"""Kind and name."""


@dataclass(frozen=True)
class Drift:
    """Objects that are not as the manifests have them; `paths` say where, the first few."""

    missing: tuple[Key, ...] = ()
    changed: tuple[tuple[Key, tuple[str, ...]], ...] = ()

    def of(self, *, strict: bool) -> Drift:
        """Of those that bound rights, or of the others."""
        return Drift(
            tuple(key for key in self.missing if (key[0] in STRICT) is strict),
            tuple(pair for pair in self.changed if (pair[0][0] in STRICT) is strict),
        )


def key_of(body: Json) -> Key:
    """Of an object."""
    return str(body["kind"]), str(body["metadata"]["name"])


def compare(variants: Sequence[Iterable[Json]], live: Mapping[Key, Json | None], *, without_view: bool) -> Drift:
    """Each object of the manifests with what is installed under its name; None: it is not there, and what is not in
    `live` could not be read. As one of the `variants` has it will do: components change some.
    """
    wanted: dict[Key, list[Json]] = {}
    for variant in variants:
        for body in variant:
            wanted.setdefault(key_of(body), []).append(body)
    missing, changed = [], []
    for key, bodies in wanted.items():
        if key not in live or (without_view and key[1] in {"view", "certjob-view"}):
            continue
        found = live[key]
        if found is None:
            missing += [key] if key[0] not in {*LOOSE, "Job"} else []
        elif key[0] not in OPERATORS:
            differences = [_differences(key[0], body, found) for body in bodies]
            changed += [] if () in differences else [(key, differences[0][:3])]
    return Drift(tuple(missing), tuple(changed))


def _differences(kind: str, wanted: Json, found: Json) -> tuple[str, ...]:
    strict, told = kind in STRICT, list[str]()
    for key in wanted.keys() - {"apiVersion", "kind", "metadata", "status"}:
        told += _compared(wanted[key], found.get(key), f".{key}", strict)
    if strict:
        told += [f".{key}" for key in found.keys() - wanted.keys() - {"apiVersion", "kind", "metadata", "status"}]
    return tuple(sorted(told))


def _compared(wanted: Any, found: Any, path: str, strict: bool) -> list[str]:
    if isinstance(wanted, dict) and isinstance(found, dict):
        told = []
        for key in wanted:
            if strict or key not in _OVERLAYS:
                told += _compared(wanted[key], found.get(key), f"{path}.{key}", strict)
        added = found.keys() - wanted.keys() if strict else ()
        return told + [f"{path}.{key}" for key in added if found[key] not in _FILLED_IN.get(key, ())]
    if isinstance(wanted, list) and isinstance(found, list):
        if not strict and all(isinstance(each, dict) and "name" in each for each in wanted):
            return _named(wanted, found, path)
        if len(wanted) != len(found):
            return [path]
        pairs = enumerate(zip(wanted, found, strict=True))
        return [at for number, (one, other) in pairs for at in _compared(one, other, f"{path}[{number}]", strict)]
    same = wanted == found or (not isinstance(wanted, dict | list) and str(wanted) == str(found))
    empty = wanted in ({}, [], None, "") and found in ({}, [], None, "")
    return [] if same or empty else [path]


def _named(wanted: Sequence[Json], found: Sequence[Any], path: str) -> list[str]:
    """Lists whose entries have names: others may add some."""
    held = {each.get("name"): each for each in found if isinstance(each, dict)}
    told = []
    for one in wanted:
        if one["name"] not in held:
            told.append(f"{path}[{one['name']}]")
        elif one["name"] not in _VARIABLES:
            told += _compared(one, held[one["name"]], f"{path}[{one['name']}]", strict=False)
    return told
