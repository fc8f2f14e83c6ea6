"""What a Certificate of cert-manager's asks for, in certjob's annotations. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from certs.duration import format_duration, parse_duration
from certs.errors import CertError
from certs.hostnames import check_host, normalize
from issuer_job import vocabulary as v
from issuer_job.demand.aliases.cert_manager import key_algorithm
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.types import type_of
from issuer_job.migrate.others.cert_manager import ForeignCertificate, ForeignKey

USUAL = frozenset({"digital signature", "key encipherment", "server auth"})
_USUAL_LIFE = parse_duration("2160h")
_FORMATS = {"CombinedPEM": "tls-combined.pem"}


@dataclass(frozen=True)
class CertificateWords:
    """The hosts, and certjob's annotations besides the issuer's name. `refused` says what certjob has no words for,
    and is empty if there is nothing; `notes` are for people to look at.
    """

    hosts: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""
    notes: tuple[str, ...] = ()


def certificate_words(found: ForeignCertificate, issuer: Issuer, *, durations: bool) -> CertificateWords:
    """What it asks for from this issuer, which is its own in certjob's words. `durations`: the ACME issuer of
    cert-manager asks its CA for the `duration` that the Certificate says; without that it means nothing.
    """
    refused = next(_refusals(found, issuer, durations), "")
    if refused:
        return CertificateWords(refused=refused)
    spec, annotations, notes = found.spec, {}, []
    key = spec.private_key or ForeignKey()
    algorithm = key_algorithm(key.algorithm, key.size)
    if algorithm is not None and algorithm is not issuer.key_algorithm:
        annotations[v.KEY_ALGORITHM] = str(algorithm)
    if before := _renew_before(found):
        annotations[v.RENEW_BEFORE] = before
    elif spec.renew_before or spec.renew_before_percentage:
        notes.append("renewed by the CA's suggestion or by age: its renewBefore cannot be said")
    formats = [_FORMATS[each["type"]] for each in spec.additional_output_formats]
    if not type_of(issuer).has_account:  # of an ACME CA there is none
        formats.append("ca.crt")
    if formats:
        annotations[v.FORMATS] = ",".join(formats)
    if spec.renewal is not None:
        notes.append("its renewal windows are not kept")
    return CertificateWords(_hosts(found), annotations, notes=tuple(notes))


def _hosts(found: ForeignCertificate) -> tuple[str, ...]:
    names = (*found.spec.dns_names, *([found.spec.common_name] if found.spec.common_name else ()))
    return tuple(dict.fromkeys(map(normalize, names)))


def _refusals(found: ForeignCertificate, issuer: Issuer, durations: bool) -> Iterator[str]:
    spec, key = found.spec, found.spec.private_key or ForeignKey()
    if spec.is_ca:
        yield "it is a CA"
    if spec.ip_addresses or spec.uris or spec.email_addresses or spec.other_names:
        yield "it names something other than hosts"
    if spec.subject or spec.literal_subject:
        yield "it has a subject"
    if spec.common_name and check_host(normalize(spec.common_name), allow_wildcard=True, private_suffixes=()):
        yield "its commonName is no host"
    if spec.name_constraints:
        yield "it has nameConstraints"
    if not USUAL.issuperset(spec.usages):
        yield f"its usages have {sorted(set(spec.usages) - USUAL)[0][:40]}"
    if spec.keystores:
        yield "its key stores have a password of their own, and certjob one for each issuer"
    if any(each.get("type") not in _FORMATS for each in spec.additional_output_formats):
        yield "its Secret has the output format DER"
    if key.rotation_policy == "Never":
        yield "rotationPolicy Never: each certificate of certjob's has a new key"
    if key.encoding == "PKCS1":
        yield "its key is to be PKCS1, and certjob writes PKCS8"
    if key_algorithm(key.algorithm, key.size) is None:
        yield f"its key is {key.algorithm or 'RSA'} {key.size or ''}".rstrip()
    if spec.duration and (durations or not type_of(issuer).has_account) and not _is_usual(spec.duration):
        yield "its duration: say lifetime for the whole issuer"
    if isinstance(spec.renewal, dict) and spec.renewal.get("policy") == "Disabled":
        yield "it is not to be renewed"
    if not _hosts(found):
        yield "it names no host"


def _is_usual(duration: str) -> bool:
    try:
        return parse_duration(duration) == _USUAL_LIFE
    except CertError:
        return False


def _renew_before(found: ForeignCertificate) -> str:
    """As certjob says it, empty if it is not said or cannot be."""
    spec, status = found.spec, found.status
    if spec.renew_before:
        try:
            return format_duration(parse_duration(spec.renew_before))
        except CertError:
            return ""
    if spec.renew_before_percentage and status.not_before and status.not_after:
        part = (status.not_after - status.not_before) * spec.renew_before_percentage / 100
        return f"{max(1, int(part.total_seconds() // 3600))}h"
    return ""
