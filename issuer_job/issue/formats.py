"""What an attempt makes of the formats that a Secret has besides certificate and key."""

from __future__ import annotations

from certs import formats
from certs.errors import CertError
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Attempt, Later
from issuer_job.record.record import Problem

_MAX_PASSWORD = 1000


def passwords(attempt: Attempt) -> dict[str, str]:
    """The passwords that the formats need, from the issuer's credentials. Raises Later if one is missing."""
    wanted = attempt.record.intent.settings.formats
    found = {}
    for key in formats.passwords_needed(wanted):
        password = _password(attempt, key)
        if not password or len(password) > _MAX_PASSWORD:
            needing = ", ".join(name for name in wanted if formats.Format(name).password_key == key)
            where = f"Secret {names.credentials(attempt.record.issuer)} in namespace {v.NAMESPACE}"
            detail = (
                f"{needing}: the key {key} is missing in {where}, or is no text of 1 to {_MAX_PASSWORD} characters"
            )
            raise Later(Problem(type="passwordMissing", detail=detail, step="formats"))
        found[key] = password
    return found


def render(attempt: Attempt, *, chain_pem: bytes, key_pem: bytes) -> dict[str, bytes]:
    """Every format that is wanted, by its key in the Secret. Raises Later."""
    wanted, known = attempt.record.intent.settings.formats, passwords(attempt)
    try:
        return formats.make(wanted, chain_pem=chain_pem, key_pem=key_pem, passwords=known, now=attempt.clock())
    except CertError as problem:
        raise Later(Problem(type="formatFailed", detail=str(problem), step="formats")) from None


def _password(attempt: Attempt, key: str) -> str:
    try:
        # Editors and shells end a file with a line break.
        return (attempt.mounted("credentials", key) or b"").decode().rstrip("\r\n")
    except UnicodeDecodeError:
        return ""
