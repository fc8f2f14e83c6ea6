"""Whether CAA records let a CA issue (RFC 8659, RFC 8657). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from issuer_job.cli.out.verdicts import Judged, fail, ok, unknown, warn
from issuer_job.dns01.lookup import Caa

ABOUT = "CAA"
_CRITICAL = 128
_KNOWN = frozenset({"issue", "issuewild", "iodef", "issuemail", "issuevmc", "contactemail", "contactphone"})
_DOMAIN = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?\.?)*")
_PARAMETER = re.compile(r"\s*([A-Za-z0-9-]+)\s*=\s*([\x21-\x3a\x3c-\x7e]*)\s*")

Answers = Mapping[str, Sequence[Caa] | str]
"""By name its CAA records, or why they could not be looked up."""


@dataclass(frozen=True)
class Ca:
    """Who asks to issue. `identities` are the directory's `caaIdentities` (RFC 8555, section 7.1.1), None if it could
    not be read; `account` is the account's URL, empty if it is not known.
    """

    identities: tuple[str, ...] | None = None
    account: str = ""


def climbed(host: str) -> list[str]:
    """The names to ask for a host, in this order (RFC 8659, section 3): itself, and all above it but the root."""
    labels = host.removeprefix("*.").split(".")
    return [".".join(labels[cut:]) for cut in range(len(labels))]


def relevant(host: str, answers: Answers) -> tuple[str, Sequence[Caa] | str]:
    """The closest name with CAA records, and these; an empty name if none has any, and the name that cannot be looked
    up if it might.
    """
    for name in climbed(host):
        found = answers.get(name, "it was not asked in time")
        if found:
            return name, found
    return "", ()


def judge_caa(host: str, answers: Answers, ca: Ca, method: str) -> Judged:
    """Whether the CA may issue for the host, which is proven by `method` ("http-01", "dns-01")."""
    name, records = relevant(host, answers)
    if isinstance(records, str):
        return warn(
            ABOUT,
            f"{name} could not be looked up ({records}): a CA that sees the same refuses {host}",
        )
    critical = next((one for one in records if one.flags & _CRITICAL and one.tag.lower() not in _KNOWN), None)
    if critical is not None:
        return _forbids(name, critical, "is critical, and no CA knows it: all refuse")
    issue = [one for one in records if one.tag.lower() == "issue"]
    wild = [one for one in records if one.tag.lower() == "issuewild"]
    decisive = wild or issue if host.startswith("*.") else issue
    if not decisive:
        return ok(ABOUT, f"nothing restricts who may issue for {host}")
    if not ca.identities:
        what = "not known" if ca.identities is None else "not in its directory"
        says = f"{_told(name, decisive)} restricts who may issue for {host}; what the CA calls itself is {what}"
        return unknown(ABOUT, says) if ca.identities is None else warn(ABOUT, says)
    return _judged(host, name, decisive, ca, method)


def _judged(host: str, name: str, records: Sequence[Caa], ca: Ca, method: str) -> Judged:
    known = {identity.lower() for identity in ca.identities or ()}
    refused = ""
    for one in records:
        domain, parameters = read_issue(one.value)
        if domain not in known:
            continue
        methods = parameters.get("validationmethods")
        account = parameters.get("accounturi")
        if methods is not None and method not in methods.lower().split(","):
            refused = refused or f"allows this CA ({domain}) only by {methods}, and the issuer proves by {method}"
        elif account is not None and account != ca.account and ca.account:
            refused = refused or f"allows another account of this CA ({domain}) than the issuer's"
        elif account is not None and not ca.account:
            says = (
                f"{_told(name, records)} allows one account of this CA ({domain}); which the issuer has is not known"
            )
            return warn(ABOUT, says)
        else:
            return ok(ABOUT, f"{name} allows this CA ({domain}) for {host}")
    names = ", ".join(ca.identities or ())
    return _forbids(name, records[0], refused or f"forbids this CA ({names})", more=len(records) - 1)


def read_issue(value: str) -> tuple[str, dict[str, str]]:
    """Domain (in lower case) and parameters of an issue or issuewild property (RFC 8659, section 4.2).

    An empty domain allows nobody; so does a value that is malformed.
    """
    domain, _, rest = value.strip().partition(";")
    domain = domain.strip()
    if not _DOMAIN.fullmatch(domain):
        return "", {}
    parameters = {}
    for part in filter(str.strip, rest.split(";")):
        found = _PARAMETER.fullmatch(part)
        if found is None:
            return "", {}
        parameters[found[1].lower()] = found[2]
    return domain.lower().removesuffix("."), parameters


def _forbids(name: str, record: Caa, how: str, *, more: int = 0) -> Judged:
    others = f" (and {more} more)" if more else ""
    says = f"{name}: {record}{others} {how}"
    return fail(ABOUT, says, docs="docs/troubleshooting.md#caa")


def _told(name: str, records: Sequence[Caa]) -> str:
    others = f" (and {len(records) - 1} more)" if len(records) > 1 else ""
    return f"{name}: {records[0]}{others}"
