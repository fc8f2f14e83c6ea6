"""What is read of an Ingress, and the entry of spec.tls that is certjob's own. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
from msgspec import UNSET, UnsetType

from certs import hostnames
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.demand.aliases.cert_manager import COMMON_NAME, PREFIXES, read_aliases
from issuer_job.demand.common import ALIASES, annotations_of, written_annotations
from issuer_job.record.sources import IngressClass

MAX_NAMES = 2000
"""Rules, tls entries and their hosts that are looked at in one Ingress; an entry without hosts has all rules'."""


class _Tls(msgspec.Struct, rename="camel", gc=False, omit_defaults=True):
    hosts: list[str] | UnsetType | None = UNSET
    secret_name: str | UnsetType | None = UNSET


class _Rule(msgspec.Struct, gc=False):
    host: str | None = None


class Spec(msgspec.Struct, rename="camel"):
    """All that is read of an Ingress's spec. Nothing else is kept of what users write there, which may be 1.5 MiB."""

    ingress_class_name: str | None = None
    tls: list[_Tls] | UnsetType | None = UNSET
    rules: list[_Rule] | None = None

    @property
    def entries(self) -> list[_Tls]:
        """Of spec.tls."""
        return self.tls or []

    @property
    def rule_hosts(self) -> Iterator[str]:
        """Hosts of the rules, in their order, not each once."""
        return (hostnames.normalize(rule.host) for rule in self.rules or () if rule.host)

    @property
    def is_too_large(self) -> bool:
        """Whether it names more than certjob looks at."""
        rules, entries = len(self.rules or ()), self.entries
        return rules + len(entries) + sum(len(entry.hosts or ()) or rules for entry in entries) > MAX_NAMES


TOO_LARGE = Spec(rules=[_Rule()] * (MAX_NAMES + 1))
"""Stands for each that is too large, where nothing else matters: it takes a few KiB."""


def spec_of(ingress: Json) -> Spec:
    """The spec, of one that was read as a whole, too."""
    spec = ingress.get("spec")
    return spec if isinstance(spec, Spec) else msgspec.convert(spec or {}, Spec)


@dataclass(frozen=True)
class TlsEntry:
    """The spec.tls entry that certjob adds to the Ingress, or already added."""

    secret_name: str
    hosts: tuple[str, ...]

    @property
    def marker(self) -> str:
        """What the annotation that marks the entry as certjob's begins with; all of it before there were copies."""
        return f"{self.secret_name} {names.digest(*self.hosts)}"

    def marker_on(self, ingress: Json) -> str:
        """Value of that annotation: a copy of the Ingress under another name has it, too."""
        metadata = ingress["metadata"]
        name, generated = metadata.get("name") or "", metadata.get("generateName") or ""
        whose = generated if not name or (generated and name.startswith(generated)) else name
        return f"{self.marker} {names.digest(whose)}"


def hosts_by_secret(ingress: Json) -> dict[str, list[str]]:
    """What spec.tls says: entries that name one Secret twice are joined, one without hosts has all of the rules."""
    requests: dict[str, dict[str, None]] = {}
    every = rule_hosts(ingress)
    for entry in spec_of(ingress).entries:
        if entry.secret_name:
            hosts = map(hostnames.normalize, entry.hosts) if entry.hosts else every
            requests.setdefault(entry.secret_name, {}).update(dict.fromkeys(hosts))
    return {name: list(hosts) for name, hosts in requests.items()}


def rule_hosts(ingress: Json) -> list[str]:
    """Hosts of the rules, in their order, each once."""
    return list(dict.fromkeys(spec_of(ingress).rule_hosts))


def with_entry(ingress: Json, added: TlsEntry) -> Json:
    """A copy of the Ingress, of which metadata and spec will do, with just certjob's entry in spec.tls, and its mark.

    Only of one whose spec.tls is empty or just certjob's former entry: `IngressWants.added` says so.
    """
    metadata, spec = ingress["metadata"], ingress["spec"]
    spec = {} if isinstance(spec, Spec) else spec
    tls = [{"hosts": list(added.hosts), "secretName": added.secret_name}]
    notes = written_annotations(ingress) | {v.TLS_ENTRY: added.marker_on(ingress)}
    stored = {key: part for key, part in ingress.items() if key != ALIASES}
    return stored | {"metadata": metadata | {"annotations": notes}, "spec": spec | {"tls": tls}}


def own_entry(ingress: Json) -> TlsEntry | None:
    """certjob's own entry, if spec.tls consists of just that one and nobody has edited it since."""
    entry, mark = _marked_entry(ingress)
    return entry if entry is not None and mark in {entry.marker, entry.marker_on(ingress)} else None


def is_copied(ingress: Json) -> bool:
    """Whether spec.tls consists of just the entry that certjob has added to an Ingress of another name."""
    entry, mark = _marked_entry(ingress)
    return entry is not None and mark.startswith(f"{entry.marker} ") and mark != entry.marker_on(ingress)


def _marked_entry(ingress: Json) -> tuple[TlsEntry | None, str]:
    """The only entry of spec.tls, and the mark."""
    tls = spec_of(ingress).entries
    only = TlsEntry(tls[0].secret_name or "", tuple(tls[0].hosts or ())) if len(tls) == 1 else None
    return only, annotations_of(ingress).get(v.TLS_ENTRY, "")


class _Metadata(msgspec.Struct, rename="camel", omit_defaults=True):
    name: str
    namespace: str
    uid: str = ""
    generation: int = 0
    annotations: dict[str, str] | None = None
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None


class _Listed(msgspec.Struct):
    metadata: _Metadata
    spec: Spec = msgspec.field(default_factory=Spec)


def from_list(text: bytes | msgspec.Raw) -> Json:
    """What is read of a stored Ingress, from its JSON: its spec is a `Spec`. Raises msgspec.DecodeError."""
    found = msgspec.json.decode(text, type=_Listed)
    return {"metadata": msgspec.to_builtins(found.metadata), "spec": found.spec}


def aliased(ingress: Json) -> Json:
    """See `SourceReader`: with cert-manager's annotations."""
    notes = written_annotations(ingress)
    if not any(name.startswith(PREFIXES) for name in notes):
        return ingress
    # Hundreds of hosts are read for the few that name one as the certificate's subject.
    hosts = frozenset(named_hosts(ingress)) if COMMON_NAME in notes else frozenset[str]()
    found = read_aliases(notes, hosts=hosts, ingress_class=ingress_class(ingress).name)
    return ingress if found is None else ingress | {ALIASES: found}


def named_hosts(ingress: Json) -> Iterator[str]:
    """Those in its rules and in spec.tls."""
    spec = spec_of(ingress)
    yield from spec.rule_hosts
    for entry in spec.entries:
        yield from map(hostnames.normalize, entry.hosts or ())


def ingress_class(ingress: Json) -> IngressClass:
    """The class as the user wrote it, as far as it can be one."""
    written = spec_of(ingress).ingress_class_name, annotations_of(ingress).get(v.INGRESS_CLASS)
    field, annotation = (text and text[: hostnames.MAX_NAME] for text in written)
    return IngressClass(field=field, annotation=annotation)
