"""What an issuer's own Job finds out about its ACME account, and does for it: no order comes into this.

The account is made if there is none, the key of an earlier installation is taken over, a rollover that is asked for
is done, and the account gets the issuer's addresses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.account import account
from issuer_job.account.keys import existing_key
from issuer_job.account.replacement import forget_dead, is_dead
from issuer_job.account.reset import reset_account
from issuer_job.account.rollover import NOT_SUPPORTED, KeyKept, roll_over_key
from issuer_job.acme_client import UNUSABLE, AcmeClient, AcmeError, AcmeUnavailable, ExternalAccountRefused
from issuer_job.acme_client.keys import decode_hmac_key
from issuer_job.acme_client.transport import tls_context
from issuer_job.attempt.attempt import Later
from issuer_job.attempt.findings import CheckReason, Finding, MountedIssuer
from issuer_job.issuers.state import CONTACTS, note_in_state
from issuer_job.record.record import Problem

AGAIN_IN = 3.0
"""Seconds before a CA that did not answer is asked once more."""
_REFUSALS = {
    "invalidContact": (CheckReason.CONTACT, "$.email"),
    "unsupportedContact": (CheckReason.CONTACT, "$.email"),
    "userActionRequired": (CheckReason.TERMS, "$.server"),
    "invalidProfile": (CheckReason.PROFILE, "$.profile"),
}


def examine_account(mounted: MountedIssuer) -> Iterator[Finding]:
    """What is wrong with the account. Raises Later if another account key is in use than this Job has, KubeError."""
    found = [*_bundle(mounted), *_external_account_key(mounted), *_existing_account_key(mounted)]
    yield from found
    if all(finding.warning for finding in found):
        yield from _ask_the_ca(mounted)


def _bundle(mounted: MountedIssuer) -> Iterator[Finding]:
    if mounted.issuer.ca_bundle:
        try:
            tls_context(mounted.issuer.ca_bundle.encode())
        except ValueError as problem:
            yield Finding(reason=CheckReason.BUNDLE, message=str(problem), path=_bundle_path(mounted))


def _bundle_path(mounted: MountedIssuer) -> str:
    return "$.caBundleKey" if mounted.issuer.ca_bundle_key else "$.caBundle"


def _external_account_key(mounted: MountedIssuer) -> Iterator[Finding]:
    """Once there is an account it is needed no more; CAs let it end."""
    try:
        key = account.external_account(mounted)
        if key is not None:
            decode_hmac_key(key.hmac_key)
    except ValueError as problem:
        what, made = f"{problem}: see {mounted.secret_or_none}", bool(mounted.state.account_url)
        yield Finding(reason=CheckReason.EAB, message=what, path="$.externalAccount", warning=made)


def _existing_account_key(mounted: MountedIssuer) -> Iterator[Finding]:
    if mounted.issuer.existing_account_key:
        try:
            existing_key(mounted, mounted.state)
        except ValueError as problem:
            yield Finding(reason=CheckReason.EXISTING_KEY, message=str(problem), path="$.existingAccountKey")


def _ask_the_ca(mounted: MountedIssuer) -> list[Finding]:
    """What only the CA can say. Raises Later, OtherPod, KubeError."""
    attempt, used = mounted.attempt, mounted.state.account_url
    try:
        return list(_asked(mounted))
    except AcmeUnavailable as unavailable:
        attempt.step("ca-unavailable", problem=str(unavailable.problem), step=unavailable.step)
        attempt.sleep(AGAIN_IN)
    except AcmeError as refusal:
        if not is_dead(refusal) or not forget_dead(mounted, refusal, used=used):
            return [_finding(mounted, refusal)]
    try:
        return list(_asked(mounted))
    except AcmeError as refusal:
        return [_finding(mounted, refusal)]


def _asked(mounted: MountedIssuer) -> Iterator[Finding]:
    """The directory, the account, its addresses, the profile. Raises AcmeError, Later, OtherPod."""
    profile = mounted.issuer.profile
    try:
        yield from _reset(mounted)
        try:
            roll_over_key(mounted, mounted.annotations.get(v.ROLLOVER, ""))
        except KeyKept as kept:
            yield Finding(reason=CheckReason.ROLLOVER, message=str(kept), warning=True)
        with account.connected(mounted) as client:
            found = client.account()
            if found.status != "valid":
                what = f"the account {found.url} is {found.status}"
                yield Finding(reason=CheckReason.ACCOUNT, message=what, path="$.server")
            yield from _corrected_contacts(mounted, client)
            if profile:
                client.directory.require_profile(profile)
    except Later as later:
        if later.problem.type == "accountReplaced":
            raise
        yield _account_finding(mounted, later.problem)


def _reset(mounted: MountedIssuer) -> Iterator[Finding]:
    """Another account, if that is asked for; a warning if the CA makes none, as the former one stays then."""
    try:
        reset_account(mounted, mounted.annotations.get(v.RESET, ""))
    except AcmeError as refusal:  # if it is away, what follows says so
        why = str(refusal.problem)
    except Later as later:
        if later.problem.type == "accountReplaced":
            raise
        why = later.problem.detail
    else:
        return
    what = f"there is no other account, and the one before stays: {why}"
    yield Finding(reason=CheckReason.RESET, message=what, warning=True)


def _corrected_contacts(mounted: MountedIssuer, client: AcmeClient) -> Iterator[Finding]:
    """The account has the issuer's addresses. newAccount changes nothing of an account that is there already.

    That a CA keeps addresses which the issuer no longer has is no reason to order nothing.
    """
    contacts = mounted.issuer.contacts
    wanted = names.digest(*contacts) if contacts else ""
    if mounted.state.data.get(CONTACTS, "") == wanted:
        return
    try:
        kept = client.update_contact(contacts).contacts
    except AcmeError as refusal:
        unable = refusal.problem.status in NOT_SUPPORTED
        if isinstance(refusal, AcmeUnavailable) and not unable:
            raise
        what = "" if contacts else "the CA wants to keep an address of the account: "
        yield Finding(
            reason=CheckReason.CONTACT,
            message=f"{what}{refusal.problem}",
            path="$.email",
            warning=unable or not contacts,
        )
        return
    if kept is not None and sorted(map(str.lower, kept)) != sorted(map(str.lower, contacts)):
        what = f"the CA keeps other addresses for the account than the issuer has ({len(kept)} of them)"
        yield Finding(reason=CheckReason.CONTACT, message=what, path="$.email", warning=True)
        return
    note_in_state(mounted.attempt.cluster, mounted.name, mounted.issuer.server, {CONTACTS: wanted})
    mounted.attempt.step("contacts-corrected", addresses=len(contacts))


def _finding(mounted: MountedIssuer, refusal: AcmeError) -> Finding:
    problem = refusal.problem
    if isinstance(refusal, ExternalAccountRefused):
        if mounted.issuer.external_account is None:
            return Finding(reason=CheckReason.EAB_NEEDED, message=problem.detail, path="$.externalAccount")
        return Finding(reason=CheckReason.EAB_REFUSED, message=str(problem), path="$.externalAccount.keyId")
    if refusal.step == "keyChange":
        return Finding(reason=CheckReason.ROLLOVER, message=str(problem))
    if problem.type == UNUSABLE or refusal.step == "directory":
        # Another name, or its end, are the server's own matter, whatever the bundle has.
        untrusted = "verify failed" in problem.detail and not re.search(r"not valid for|has expired", problem.detail)
        where = f" ({mounted.issuer.server})" if problem.status else ""
        path = _bundle_path(mounted) if untrusted else "$.server"
        return Finding(reason=CheckReason.UNREACHABLE, message=f"{refusal.step}{where}: {problem}", path=path)
    reason, path = _REFUSALS.get(problem.type, (CheckReason.ACCOUNT, "$.server"))
    if refusal.step == "newAccount" and reason is CheckReason.ACCOUNT:
        if mounted.issuer.external_account is not None:
            path = "$.externalAccount.keyId"
        elif not mounted.issuer.contacts and "contact" in problem.words.lower():
            reason, path = CheckReason.CONTACT, "$.email"  # acme has no type for an address that is missing
    link = f"; see {refusal.link}" if refusal.link else ""
    return Finding(reason=reason, message=f"{refusal.step}: {problem}{link}", path=path)


def _account_finding(mounted: MountedIssuer, problem: Problem) -> Finding:
    if mounted.issuer.existing_account_key and "existingAccountKey" in problem.detail:
        return Finding(reason=CheckReason.EXISTING_KEY, message=problem.detail, path="$.existingAccountKey")
    reason = CheckReason.ROLLOVER if problem.step == "keyChange" else CheckReason.ACCOUNT
    return Finding(reason=reason, message=problem.detail, path="$.server")
