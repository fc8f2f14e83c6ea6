"""A connection to the issuer's CA with one account key."""

from __future__ import annotations

from issuer_job.acme_client import AcmeClient
from issuer_job.attempt.findings import MountedIssuer

USER_AGENT = "certjob"


def connect(mounted: MountedIssuer, key: bytes, account_url: str) -> AcmeClient:
    """A connection with this key; without an account's URL the CA has to be asked for it. Raises Later, AcmeError."""
    issuer, attempt = mounted.issuer, mounted.attempt
    try:
        return AcmeClient.connect(
            issuer.server,
            ca_bundle_pem=issuer.ca_bundle.encode() or None,
            account_key_pem=key,
            account_url=account_url or None,
            user_agent=USER_AGENT,
            deadline=attempt.deadline,
            now=attempt.clock,
            sleep=attempt.sleep,
        )
    except ValueError as problem:
        raise mounted.broken(str(problem)) from None


def account_of(mounted: MountedIssuer, key: bytes) -> str | None:
    """URL of the account that has this key at the CA, None if none has. Raises Later, AcmeError."""
    with connect(mounted, key, "") as client:
        found = client.find_account()
    return None if found is None else found.url
