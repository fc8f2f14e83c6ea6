"""Which certificate a Secret that asks for one shall hold while it waits, and until the next one comes. Pure."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509

from certs import formats
from certs.chain import dns_names, parse_chain
from certs.placeholder import make_placeholder
from certs.validity import StoredCertificate, ValidityReason, judge_stored
from issuer_job.cluster.api import Json

CERTIFICATE, KEY = "tls.crt", "tls.key"


@dataclass(frozen=True)
class KeptData:
    """What the Secret shall hold, in base64; `works` if that is more than a placeholder. Never shows in a repr."""

    data: dict[str, str] = field(repr=False)
    works: bool
    not_after: datetime
    given_up: bool = False
    """The certificate in the object is not what stays: it is of no use."""


def held(new: Json, old: Json | None, *, hosts: tuple[str, ...], wanted: tuple[str, ...], now: datetime) -> KeptData:
    """The certificate in the new object if it works, else the old one's, else a placeholder for the hosts.

    `wanted` are the formats: those without a password are made here, the old ones stay with their certificate.
    Raises CertError without hosts.
    """
    mine, former = _data(new), _data(old or {})
    given_up = bool(mine.get(CERTIFICATE)) and not _same(mine, former)
    given_up = given_up and _leaf(mine, now, ValidityReason.PLACEHOLDER) is None
    for data in (mine, former):
        # Somebody may be using it: it stays until there is a better one.
        if leaf := _leaf(data, now, ValidityReason.GOOD, ValidityReason.NOT_YET_VALID):
            end = leaf.not_valid_after_utc
            return KeptData(_kept(mine, former, data, wanted), True, end, given_up and data is former)
    for data in (mine, former):
        leaf = _leaf(data, now, ValidityReason.PLACEHOLDER)
        if leaf and set(dns_names(leaf)) == set(hosts) and now < leaf.not_valid_after_utc:
            return KeptData(_kept(mine, former, data, wanted), False, leaf.not_valid_after_utc, given_up)
    made = make_placeholder(hosts, now=now)
    chain, key = made.cert_chain_pems, made.key_pem
    further = formats.make(wanted, chain_pem=chain, key_pem=key, passwords={}, now=now)
    fresh = {CERTIFICATE: chain, KEY: key, **further}
    end = parse_chain(chain)[0].not_valid_after_utc
    return KeptData(_others(mine) | {name: b64encode(x).decode() for name, x in fresh.items()}, False, end, given_up)


def kept(new: Json, old: Json) -> dict[str, str]:
    """The old certificate in the place of an empty one: for an update about which nothing else can be said."""
    mine, former = _data(new), _data(old)
    if mine.get(CERTIFICATE) and mine.get(KEY):
        return mine
    return {**former, **{name: x for name, x in mine.items() if x}}


def _kept(
    mine: dict[str, str], former: dict[str, str], chosen: dict[str, str], wanted: tuple[str, ...]
) -> dict[str, str]:
    result = {**mine, CERTIFICATE: chosen[CERTIFICATE], KEY: chosen[KEY]}
    if former.get(CERTIFICATE) == chosen[CERTIFICATE]:
        # A manifest knows nothing of them.
        result |= {name: former[name] for name in wanted if name in former and not mine.get(name)}
    return result


def _others(data: dict[str, str]) -> dict[str, str]:
    return {name: x for name, x in data.items() if name not in set(formats.Format)}


def _data(secret: Json) -> dict[str, str]:
    return {name: x or "" for name, x in (secret.get("data") or {}).items()}


def _leaf(data: dict[str, str], now: datetime, *reasons: ValidityReason) -> x509.Certificate | None:
    """The certificate, if one of these is what there is to say of it, whatever its hosts."""
    stored = StoredCertificate(_decoded(data.get(CERTIFICATE)), _decoded(data.get(KEY)))
    if judge_stored(stored, hosts=(), now=now).reason not in reasons:
        return None
    return parse_chain(stored.tls_crt or b"")[0]


def _same(one: dict[str, str], other: dict[str, str]) -> bool:
    return all(one.get(name) == other.get(name) for name in (CERTIFICATE, KEY))


def _decoded(text: str | None) -> bytes | None:
    try:
        return b64decode(text, validate=True) if text else None
    except (Base64Error, ValueError):
        return None
