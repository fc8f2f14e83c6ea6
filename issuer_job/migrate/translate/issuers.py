"""cert-manager's issuers in certjob's words. Pure."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

import msgspec

from certs.hostnames import check_host
from certs.keys import KeyAlgorithm
from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.issuers.load import IssuerError, parse_issuer
from issuer_job.issuers.rules import PEM_BEGIN
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.solvers import Solver, most_specific
from issuer_job.migrate.others.cm_issuers import ForeignAcme, ForeignHttp01, ForeignIssuer, ForeignSolver, SecretKey
from issuer_job.migrate.translate.dns import CannotSay, DnsWords, dns_words

BUNDLE_KEY = "ca.pem"
ACCOUNT_KEY = "tls.key"
HMAC_KEY = "eab-hmac-key"
LETS_ENCRYPT = "letsencrypt.org"
NO_LIMITS = {"orders": 0, "perRegisteredDomain": 0, "perExactSet": 0, "failedValidations": 0}


@dataclass(frozen=True)
class Credential:
    """A key of `credentials-ISSUER` whose value another Secret has: see `translate.dns.SecretOption` for its form."""

    key: str
    namespace: str
    secret: str
    source_key: str
    form: str = ""
    decoded: bool = False


@dataclass(frozen=True)
class TranslatedIssuer:
    """An issuer of another tool, as certjob would have it under `name`.

    `cannot` says why certjob has no words for it, and is empty if it has. `solvers` are those of the other tool, in
    its order, each with why certjob has none like it. `notes` are for people to look at. `exists`: certjob has it.
    """

    origin: str
    name: str = ""
    document: Json = field(default_factory=dict)
    bundle: str = ""
    credentials: tuple[Credential, ...] = ()
    solvers: tuple[tuple[Solver, str], ...] = ()
    notes: tuple[str, ...] = ()
    cannot: str = ""
    default: bool = False
    exists: bool = False

    @property
    def config_map(self) -> Json:
        """What is applied."""
        metadata: Json = {"name": self.name, "namespace": v.NAMESPACE, "labels": {v.ISSUER: "true"}}
        if self.default:
            metadata["annotations"] = {v.DEFAULT_ISSUER: "true"}
        data = {v.ISSUER_KEY: msgspec.yaml.encode(self.document).decode()}
        if self.bundle:
            data[BUNDLE_KEY] = self.bundle
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}

    @property
    def issuer(self) -> Issuer:
        """As certjob reads it. Raises IssuerError if a value is one that it does not take."""
        return parse_issuer(self.config_map)

    def refusal(self, host: str, ingress_class: str | None) -> str:
        """Why certjob cannot prove the host, which the other tool proves by a solver of its own; empty if it can."""
        choice = tuple(solver for solver, _ in self.solvers)
        best = most_specific(choice, host, ingress_class) if choice else None
        why = next((why for solver, why in self.solvers if solver is best), "")
        return f"{host[:70]}: {why}" if why else ""


@dataclass(frozen=True)
class Uses:
    """What is to be had from an issuer, as far as its translation depends on that: hosts, and the usual key."""

    hosts: Collection[str] = ()
    algorithm: KeyAlgorithm = KeyAlgorithm.RSA_2048
    new_account: bool = False
    """The account's key is not taken over: certjob makes an account of its own."""


def translated(found: ForeignIssuer, *, name: str, secrets: str, uses: Uses) -> TranslatedIssuer:
    """The issuer in certjob's words; `secrets` is the namespace that has its Secrets."""
    spec, origin = found.spec, str(found)
    try:
        if spec.acme is not None:
            made = _acme(origin, spec.acme, secrets, uses)
        elif spec.ca is not None:
            made = _authority(origin, found, secrets)
        elif spec.self_signed is not None:
            made = TranslatedIssuer(origin, document={"type": "selfsigned", "lifetime": "90d"})
        else:
            kind = next((kind for kind in ("vault", "venafi") if getattr(spec, kind) is not None), "")
            raise CannotSay(f"{kind.capitalize()} issuer" if kind else "an issuer of an unknown kind")
        document = made.document | {"keyAlgorithm": str(uses.algorithm)}
        if found.metadata.namespace:
            document["allowedNamespaces"] = [found.metadata.namespace]
        if any(_is_private(host) for host in uses.hosts) and "type" not in document:
            document["privateNames"] = True
        made = replace(made, name=name, document=document)
        made.issuer  # noqa: B018 - whether certjob takes all of it
    except CannotSay as problem:
        return TranslatedIssuer(origin, name, cannot=str(problem))
    except IssuerError as problem:
        return TranslatedIssuer(origin, name, cannot=str(problem).removeprefix(f"issuer {name}: "))
    return made


def _authority(origin: str, found: ForeignIssuer, secrets: str) -> TranslatedIssuer:
    authority = found.spec.ca
    if authority is None or authority.crl_distribution_points or authority.ocsp_servers:
        raise CannotSay("a CA that names lists of revocations")
    keys = tuple(Credential(key, secrets, authority.secret_name, key) for key in ("tls.crt", "tls.key"))
    return TranslatedIssuer(origin, document={"type": "ca", "privateNames": True}, credentials=keys)


def _acme(origin: str, acme: ForeignAcme, secrets: str, uses: Uses) -> TranslatedIssuer:
    if acme.skip_tls_verify:
        raise CannotSay("skipTLSVerify: give it the caBundle of its server instead")
    document: dict[str, Any] = {"server": acme.server}
    document |= {
        key: value
        for key, value in (
            ("email", acme.email),
            ("preferredChain", acme.preferred_chain),
            ("profile", acme.profile),
        )
        if value
    }
    credentials: list[Credential] = []
    eab, account = acme.external_account_binding, acme.private_key_secret_ref
    if eab is not None:
        document["externalAccount"] = {"keyId": eab.key_id}
        credentials.append(_credential(HMAC_KEY, eab.key_secret_ref, secrets))
    if account.name and not uses.new_account:
        document["existingAccountKey"] = ACCOUNT_KEY
        credentials.append(_credential(ACCOUNT_KEY, account, secrets, otherwise=ACCOUNT_KEY))
    notes: list[str] = []
    bundle = _bundle(acme.ca_bundle)
    if bundle:
        document["caBundleKey"] = BUNDLE_KEY
    if not (urlsplit(acme.server).hostname or "").endswith(LETS_ENCRYPT):
        document["limits"] = NO_LIMITS
    made = _Solvers(secrets)
    for solver in acme.solvers:
        made.add(solver)
    if made.annotations:
        document["routeAnnotations"] = made.annotations
        notes.append("allow its routeAnnotations in the ConfigMap certjob-route-policy (docs/issuers.md)")
    if acme.solvers and not made.words:
        raise CannotSay(made.each[0][1])
    if made.words:
        document["solvers"] = made.words
    notes += made.notes
    return TranslatedIssuer(
        origin,
        document=document,
        bundle=bundle,
        credentials=(*credentials, *made.credentials),
        solvers=tuple(made.each),
        notes=tuple(dict.fromkeys(notes)),
    )


def _credential(key: str, source: SecretKey, namespace: str, *, otherwise: str = "") -> Credential:
    return Credential(key, namespace, source.name, source.key or otherwise)


class _Solvers:
    """Translates solvers one after the other: all of one provider have the same secrets in certjob."""

    def __init__(self, secrets: str) -> None:
        self._secrets = secrets
        self.each: list[tuple[Solver, str]] = []
        self.words: list[Json] = []
        self.credentials: list[Credential] = []
        self.annotations: dict[str, str] = {}
        self.notes: list[str] = []

    def add(self, solver: ForeignSolver) -> None:
        """One more; what certjob has no words for is remembered with the reason."""
        selector = {"dnsNames": list(solver.selector.dns_names), "dnsZones": list(solver.selector.dns_zones)}
        words: Json = (
            {"selector": chosen} if (chosen := {key: names for key, names in selector.items() if names}) else {}
        )
        try:
            words |= self._said(solver)
            why = ""
        except CannotSay as problem:
            why = str(problem)
            words |= {"http01": {}} if solver.dns01 is None else {"dns01": {"provider": "none"}}
        made = msgspec.convert(words, Solver)
        self.each.append((made, why))
        if not why:
            self.words.append(words)

    def _said(self, solver: ForeignSolver) -> Json:
        if solver.selector.match_labels:
            raise CannotSay("a solver that is chosen by labels")
        if solver.dns01 is not None:
            found = dns_words(solver.dns01)
            self._take(found)
            return {"dns01": found.dns01}
        return {"http01": self._http01(solver.http01 or ForeignHttp01())}

    def _http01(self, http01: ForeignHttp01) -> Json:
        ingress = http01.ingress
        if ingress is None:
            raise CannotSay("HTTP-01 through a Gateway" if http01.gateway_http_route else "a solver without a way")
        if ingress.name:
            raise CannotSay("HTTP-01 in an Ingress that is there (http01.ingress.name)")
        self.annotations |= ingress.ingress_template.metadata.annotations
        name = ingress.ingress_class_name or ingress.class_
        return {"ingressClass": name} if name else {}

    def _take(self, found: DnsWords) -> None:
        provider = found.dns01["provider"]
        keys = [
            Credential(
                f"{provider}.{secret.name}",
                self._secrets,
                secret.source.name,
                secret.source.key,
                secret.form,
                secret.decoded,
            )
            for secret in found.secrets
        ]
        known = {each.key: each for each in self.credentials}
        if any(known.get(each.key, each) != each for each in keys):
            raise CannotSay(
                f"{provider} with other credentials than another solver has: make it an issuer of its own"
            )
        self.credentials += [each for each in keys if each.key not in known]
        self.notes += found.notes


def _bundle(text: str) -> str:
    if not text:
        return ""
    try:
        pem = b64decode(text, validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        pem = ""
    if PEM_BEGIN not in pem:
        raise CannotSay("a caBundle that cannot be read")
    return pem


def _is_private(host: str) -> bool:
    """Whether no public CA certifies the host, and nothing else is wrong with it."""
    return check_host(host, allow_wildcard=True) is not None and _fits(host)


def _fits(host: str) -> bool:
    return check_host(host, allow_wildcard=True, private_suffixes=()) is None
