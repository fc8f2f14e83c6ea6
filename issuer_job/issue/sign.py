"""Issuers that need no order: `selfsigned`, and `ca` with the operator's own key pair. One Job all the same."""

from __future__ import annotations

from certs.chain import check_issued
from certs.errors import CertError
from certs.keys import CertifiedKey, KeyAlgorithm, PrivateKey, generate_key
from certs.leaf import PrivateAuthority
from certs.signing import read_authority, self_sign, sign
from issuer_job import names
from issuer_job.attempt.attempt import Attempt, Later, Resolved
from issuer_job.issue.order import Obtained
from issuer_job.issuers.types import SELF_SIGNED, directory_of, lifetime_of
from issuer_job.record import transitions
from issuer_job.record.record import Problem

CA_CERTIFICATE = "tls.crt"
CA_KEY = "tls.key"


def signed(attempt: Attempt, resolved: Resolved) -> Obtained:
    """A new key and a certificate for it. Raises Later if the CA's key pair is missing or cannot be used."""
    attempt.advance(transitions.signing, directory=directory_of(resolved.issuer))
    key = generate_key(KeyAlgorithm(resolved.key_algorithm))
    try:
        made = _made(attempt, resolved, key)
        certificate = check_issued(
            made.cert_chain_pems, key=key, hosts=attempt.record.intent.hosts, now=attempt.clock()
        )
    except CertError as problem:
        raise Later(_broken(resolved, str(problem))) from None
    attempt.step(
        "certificate",
        serial=certificate.serial,
        not_after=certificate.not_after.isoformat(),
        signed_by=certificate.issuer_name,
    )
    return Obtained(made.key_pem, made.cert_chain_pems, certificate)


def _made(attempt: Attempt, resolved: Resolved, key: PrivateKey) -> CertifiedKey:
    hosts, now, lifetime = attempt.record.intent.hosts, attempt.clock(), lifetime_of(resolved.issuer)
    if resolved.issuer.type == SELF_SIGNED.name:
        return self_sign(hosts, key=key, now=now, lifetime=lifetime)
    return sign(_authority(attempt, resolved), hosts, key=key, now=now, lifetime=lifetime)


def _authority(attempt: Attempt, resolved: Resolved) -> PrivateAuthority:
    certificate = attempt.mounted("credentials", CA_CERTIFICATE)
    key = attempt.mounted("credentials", CA_KEY)
    if certificate is None or key is None:
        missing = CA_CERTIFICATE if certificate is None else CA_KEY
        detail = f"Secret {names.credentials(resolved.name)} in namespace certjob has no key {missing}"
        raise Later(_broken(resolved, detail))
    return read_authority(certificate, key, now=attempt.clock())


def _broken(resolved: Resolved, detail: str) -> Problem:
    return Problem(type="brokenIssuer", detail=f"issuer {resolved.name}: {detail}", step="sign")
