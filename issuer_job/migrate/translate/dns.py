"""cert-manager's DNS solvers in certjob's words: provider, options, and keys of which Secrets. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from issuer_job.issuers.solvers import nameserver
from issuer_job.migrate.others.cert_manager import ForeignPart
from issuer_job.migrate.others.cm_issuers import SecretKey

Json = dict[str, Any]


class CannotSay(ValueError):
    """certjob has no words for it: the message says for what, to follow a colon."""


@dataclass(frozen=True)
class SecretOption:
    """A secret option of a provider, and the key of cert-manager's that has its value.

    `form` is what a value has to look like: `{}` stands for it as it is stored, in base64; with `decoded` for the
    value itself.
    """

    name: str
    source: SecretKey
    form: str = ""
    decoded: bool = False


@dataclass(frozen=True)
class DnsWords:
    """`dns01` of a solver as `issuer.yaml` has it, the provider's secrets, and what somebody has to look at."""

    dns01: Json
    secrets: tuple[SecretOption, ...] = ()
    notes: tuple[str, ...] = ()


def dns_words(dns01: Mapping[str, Any]) -> DnsWords:
    """What a solver's `dns01` says. Raises CannotSay."""
    named = [name for name in dns01 if name not in {"cnameStrategy", "nameservers"}]
    if len(named) != 1 or not isinstance(dns01[named[0]], dict):
        raise CannotSay("a dns01 without one provider")
    name = named[0]
    if name == "webhook":
        raise CannotSay(f"the DNS webhook {str(dns01[name].get('solverName', '?'))[:63]}")
    if name not in _PROVIDERS:
        raise CannotSay(f"the DNS provider {name[:63]}")
    try:
        found = _PROVIDERS[name](dns01[name])
    except msgspec.ValidationError as problem:
        raise CannotSay(f"dns01.{name}: {problem}") from None
    return _with_the_rest(found, dns01)


def _with_the_rest(found: DnsWords, dns01: Mapping[str, Any]) -> DnsWords:
    words, notes = dict(found.dns01), list(found.notes)
    servers = dns01.get("nameservers") or ()
    if servers:
        try:
            for server in servers:
                nameserver(str(server))
        except ValueError:
            notes.append("nameservers are IP addresses here: those that it has are left out")
        else:
            words["nameservers"] = [str(server) for server in servers]
    if dns01.get("cnameStrategy") == "Follow":
        notes.append("cnameStrategy Follow: name the zones that aliases lead into in aliasZones (docs/dns.md)")
    return DnsWords(words, found.secrets, tuple(notes))


def _needed(source: SecretKey | None, what: str) -> SecretKey:
    if source is None or not source.name or not source.key:
        raise CannotSay(what)
    return source


class _Cloudflare(ForeignPart, frozen=True):
    email: str = ""
    api_key_secret_ref: SecretKey | None = None
    api_token_secret_ref: SecretKey | None = None


def _cloudflare(said: Json) -> DnsWords:
    found = msgspec.convert(said, _Cloudflare)
    source = _needed(found.api_token_secret_ref or found.api_key_secret_ref, "cloudflare without a token")
    options = {} if found.api_token_secret_ref else {"auth_username": found.email}
    return DnsWords(_words("cloudflare", options), (SecretOption("auth_token", source),))


class _Route53(ForeignPart, frozen=True):
    access_key_id: str = msgspec.field(name="accessKeyID", default="")
    access_key_id_secret_ref: SecretKey | None = msgspec.field(name="accessKeyIDSecretRef", default=None)
    secret_access_key_secret_ref: SecretKey | None = None
    role: str = ""
    hosted_zone_id: str = msgspec.field(name="hostedZoneID", default="")


def _route53(said: Json) -> DnsWords:
    found = msgspec.convert(said, _Route53)
    if found.role:
        raise CannotSay("route53 that assumes a role")
    secret = _needed(found.secret_access_key_secret_ref, "route53 with credentials of the pod's or the node's")
    options = {"auth_access_key": found.access_key_id, "zone_id": found.hosted_zone_id}
    secrets = [SecretOption("auth_access_secret", secret)]
    if not found.access_key_id:
        source = _needed(found.access_key_id_secret_ref, "route53 without an access key")
        secrets.append(SecretOption("auth_access_key", source))
    return DnsWords(_words("route53", options), tuple(secrets))


class _Azure(ForeignPart, frozen=True):
    client_id: str = msgspec.field(name="clientID", default="")
    client_secret_secret_ref: SecretKey | None = None
    subscription_id: str = msgspec.field(name="subscriptionID", default="")
    tenant_id: str = msgspec.field(name="tenantID", default="")
    resource_group_name: str = ""
    hosted_zone_name: str = ""
    environment: str = "AzurePublicCloud"
    zone_type: str = "AzurePublicZone"


def _azure(said: Json) -> DnsWords:
    found = msgspec.convert(said, _Azure)
    source = _needed(found.client_secret_secret_ref, "azureDNS with an identity of the pod's or the node's")
    if (found.environment or "AzurePublicCloud") != "AzurePublicCloud":
        raise CannotSay(f"azureDNS in {found.environment[:63]}")
    if found.zone_type == "AzurePrivateZone":
        raise CannotSay("azureDNS with a private zone")
    options = {
        "auth_client_id": found.client_id,
        "auth_tenant_id": found.tenant_id,
        "auth_subscription_id": found.subscription_id,
        "resource_group": found.resource_group_name,
    }
    words = _words("azure", options) | ({"zone": found.hosted_zone_name} if found.hosted_zone_name else {})
    return DnsWords(words, (SecretOption("auth_client_secret", source),))


class _CloudDns(ForeignPart, frozen=True):
    service_account_secret_ref: SecretKey | None = None
    project: str = ""


def _cloud_dns(said: Json) -> DnsWords:
    found = msgspec.convert(said, _CloudDns)
    source = _needed(found.service_account_secret_ref, "cloudDNS with an identity of the pod's or the node's")
    secret = SecretOption("auth_service_account_info", source, form="base64::{}")
    note = f"cloudDNS: the project is that of the service account's file, and should be {found.project[:63]}"
    return DnsWords(_words("googleclouddns", {}), (secret,), (note,))


class _DigitalOcean(ForeignPart, frozen=True):
    token_secret_ref: SecretKey | None = None


def _digital_ocean(said: Json) -> DnsWords:
    source = _needed(msgspec.convert(said, _DigitalOcean).token_secret_ref, "digitalocean without a token")
    return DnsWords(_words("digitalocean", {}), (SecretOption("auth_token", source),))


class _AcmeDns(ForeignPart, frozen=True):
    host: str = ""
    account_secret_ref: SecretKey | None = None


def _acme_dns(said: Json) -> DnsWords:
    found = msgspec.convert(said, _AcmeDns)
    source = _needed(found.account_secret_ref, "acmeDNS without accounts")
    return DnsWords(_words("acme-dns", {"server": found.host}), (SecretOption("accounts", source),))


class _Rfc2136(ForeignPart, frozen=True):
    nameserver: str = ""
    tsig_secret_secret_ref: SecretKey | None = None
    tsig_key_name: str = ""
    tsig_algorithm: str = ""


_TSIG = {
    "": "hmac-md5.sig-alg.reg.int",
    "HMACMD5": "hmac-md5.sig-alg.reg.int",
    "HMACSHA1": "hmac-sha1",
    "HMACSHA256": "hmac-sha256",
    "HMACSHA512": "hmac-sha512",
}


def _rfc2136(said: Json) -> DnsWords:
    found = msgspec.convert(said, _Rfc2136)
    source = _needed(found.tsig_secret_secret_ref, "rfc2136 without a TSIG key")
    algorithm = _TSIG.get(found.tsig_algorithm.upper())
    name = found.tsig_key_name
    if algorithm is None or not name or ":" in name or not name.isprintable() or set(name) & set("\"'\\{}"):
        raise CannotSay("rfc2136 with such a TSIG key")
    server = found.nameserver
    host, _, port = server.rpartition(":")
    if host.startswith("["):
        if port != "53":
            raise CannotSay("rfc2136 with a server of IPv6 on another port than 53")
        server = host.strip("[]")
    secret = SecretOption("auth_token", source, form=f"{algorithm}:{name}:{{}}", decoded=True)
    return DnsWords(_words("ddns", {"ddns_server": server}), (secret,))


_PROVIDERS: Mapping[str, Callable[[Json], DnsWords]] = {
    "cloudflare": _cloudflare,
    "route53": _route53,
    "azureDNS": _azure,
    "cloudDNS": _cloud_dns,
    "digitalocean": _digital_ocean,
    "acmeDNS": _acme_dns,
    "rfc2136": _rfc2136,
}
"""By cert-manager's names; that of Akamai lexicon does not have."""


def _words(provider: str, options: Mapping[str, str]) -> Json:
    given = {name: value for name, value in options.items() if value}
    return {"provider": provider} | ({"options": given} if given else {})
