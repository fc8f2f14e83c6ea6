"""What each type of problem means and what to do about it: one row each, also of docs/troubleshooting.md. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

PAGE = "docs/troubleshooting.md"
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")
_MARKS = str.maketrans("", "", "`")


@dataclass(frozen=True)
class Advice:
    """In Markdown, as the page has it. `permanent`: that only a change helps ("yes", and where that is not all)."""

    means: str
    do: str
    permanent: str = ""

    @property
    def plain(self) -> tuple[str, str]:
        """Both without marks and links."""
        means, do = (_LINK.sub(r"\1", text).translate(_MARKS) for text in (self.means, self.do))
        return means, do


def advice_for(problem_type: str) -> Advice:
    """The row of a problem's type; of one that is not known, as a CA's own or a later version's, the last."""
    return ADVICE.get(problem_type, OTHER)


def anchor_id(problem_type: str) -> str:
    """Of the type's row in the page's table."""
    return problem_type.replace(":", "-").lower()


def anchor(problem_type: str) -> str:
    """Where the page says more."""
    return f"{PAGE}#{anchor_id(problem_type)}" if problem_type in ADVICE else f"{PAGE}#problems"


OTHER = Advice("the CA's words", "the text")

ADVICE: dict[str, Advice] = {
    "recordUnreadable": Advice(
        "the record cannot be read: damaged, or written by a later certjob; what it has issued goes on being served",
        "upgrade certjob; a damaged one: delete its ConfigMap, it is made anew",
    ),
    "foreignSecret": Advice(
        "the Secret exists and is not certjob's",
        "another secretName, or [hand it over](#renew-or-repair-by-hand)",
        "yes",
    ),
    "immutableSecret": Advice(
        "the Secret is immutable",
        "delete it, or name another",
        "yes",
    ),
    "ownedSecret": Advice(
        "on a cluster before 1.36: the Secret has ownerReferences or finalizers, which a write would drop",
        "remove them, or name another",
        "yes",
    ),
    "hostClaimed": Advice(
        "another namespace had the host first",
        "nothing: it is ordered when the host is free; or [move the host](#move-a-host-to-another-namespace)",
        "yes",
    ),
    "hostContested": Advice(
        (
            "another namespace names the host in an Ingress that is older and was changed since, so that nobody "
            "can tell who was first; `swept` counts such certificates as `hosts contested`"
        ),
        (
            "an operator decides, by [moving the host](#move-a-host-to-another-namespace) to one of them; it is "
            "ordered, too, when the other names it no more"
        ),
        "yes",
    ),
    "hostNotAllowed": Advice(
        "the operator's [list](hosts.md#allow-list) does not give the host to the namespace",
        "edit `allowedHosts`; the next sweep tries again",
        "yes",
    ),
    "brokenOptions": Advice(
        "the ConfigMap `certjob-options` is wrong; the text names the field",
        "put it right",
    ),
    "dnsProvider": Advice(
        "the DNS provider refused a change or the credentials, or was not reached; its words are in the text",
        "[dns.md](dns.md#when-it-fails)",
    ),
    "dnsLookup": Advice(
        "no zone was found for the challenge's TXT record, its alias is wrong, or no DNS server answered",
        "[dns.md](dns.md#when-it-fails)",
    ),
    "quotaExceeded": Advice(
        ("a ResourceQuota is used up, in the namespace or of certjob's Jobs; its name and numbers are in the text"),
        "raise it",
    ),
    "namespaceFull": Advice(
        (
            "the namespace has all the certificates or hosts that it may have; those that are there go on, but "
            "one that asks for a host more is not renewed without it"
        ),
        (
            "delete what is not needed, or raise `certificatesPerNamespace` or `hostsPerNamespace` (README); the "
            "next sweep orders it"
        ),
    ),
    "noRoom": Advice(
        (
            "80 % of the ConfigMaps are used that the ResourceQuota `certjob` allows: nothing new, what is there "
            "goes on"
        ),
        (
            "`kubectl describe quota -n certjob`; who has them: `kubectl get cm -n certjob -l certjob.io/record "
            "-L certjob.io/namespace`; raise the quota"
        ),
    ),
    "heldBack": Advice(
        "an order now would exceed one of the issuer's `limits`; no order was made",
        "nothing, it is ordered at the time in the text; or raise the limit if the CA allows you more",
    ),
    "namespaceTerminating": Advice(
        "the namespace is being deleted",
        "nothing",
    ),
    "foreignMetadata": Advice(
        (
            "another admission plugin adds a label or annotation to the Secret that certjob writes, and nobody "
            "has allowed the key, which is in the text"
        ),
        "[allow it](security.md#what-others-add), or exempt the group `system:serviceaccounts:certjob` there",
    ),
    "writeRefused": Advice(
        (
            "the same of something else that an attempt takes: its Job, a challenge route, a ConfigMap, an "
            "account or pending key in `certjob`. Nothing is lost, and it is tried again, longer and longer apart"
        ),
        (
            "the same. For a challenge route: see what the rule wants, and give the issuer that `pathType` or "
            "those `routeAnnotations`; a rule that wants each host only once may let it pass with the option "
            "`routes: job`"
        ),
    ),
    "secretRefused": Advice(
        (
            "the Secret is refused by an admission policy, a webhook or another rule of the API server; its name "
            "and words are in the text"
        ),
        "what the words ask for; or exempt the group `system:serviceaccounts:certjob` there",
    ),
    "otherTool": Advice(
        (
            "cert-manager writes the Secret, too, for the Certificate in the text, perhaps because both act on "
            "`kubernetes.io/tls-acme`. It is left to cert-manager; each pass looks whether that is still so"
        ),
        (
            "for certjob's delete the Certificate and the Secret's annotation `cert-manager.io/certificate-name`; "
            "for cert-manager's take certjob's annotations from the Ingress"
        ),
        "yes",
    ),
    "overwritten": Advice(
        (
            "a certificate was put back less than a day ago, and somebody has written over it again; the text "
            "says who, as far as the API server knows"
        ),
        "keep him from it, or name another Secret in `spec.tls`; then delete the Secret, or wait",
    ),
    "secretChanging": Advice(
        "somebody writes the Secret all the time",
        "find out who; two tools on one Secret",
    ),
    "policiesNotInForce": Advice(
        "a canary was not refused by its policy, or the look not answered",
        "the log says which, event `policies-not-in-force`; `python -m issuer_job self-test`",
    ),
    "unknownIssuer": Advice(
        "the issuer is gone",
        "make it again, or name another",
    ),
    "brokenIssuer": Advice(
        "its ConfigMap or credentials are wrong",
        "the text names the field",
    ),
    "issuerChanged": Advice(
        "the Ingress names another issuer by now",
        "nothing, the next attempt uses it; unless there is no such issuer: correct the annotation",
    ),
    "notCertifiable": Advice(
        (
            "an Ingress that names the Secret has something wrong, as the text says; a good certificate stays "
            "until it ends"
        ),
        "correct the Ingress",
    ),
    "notRenewed": Advice(
        (
            "in `CertificateExpiring`: no order could be tried, for example because a host belongs to another "
            "namespace"
        ),
        "the other Events on the Ingress, the sweep's log",
    ),
    "issuerBlocked": Advice(
        "the CA refused the account for a while; all its Jobs wait",
        "the text; the time is `blockedUntil` in the ConfigMap with label `certjob.io/issuer-state`",
    ),
    "passwordMissing": Advice(
        (
            "a [format](requests.md#formats) is locked with a password that the issuer's credentials lack; "
            "nothing is ordered or written"
        ),
        "the text names key and Secret",
    ),
    "formatFailed": Advice(
        "a format cannot be made of the certificate",
        "the text",
    ),
    "foreignKey": Advice(
        (
            "the key that was mounted for the order is not known to be this certificate's: left by certjob 0.1.0, "
            "or mounted by somebody else"
        ),
        (
            "nothing: the next attempt makes a new key for the same order. Again and again: look who creates Jobs "
            "in `certjob`"
        ),
    ),
    "clockSkew": Advice(
        "a renewal is due by the cluster's clock only, which is ahead of the CA's by more than 10 minutes",
        "set the nodes' clocks (NTP); no order was spent",
    ),
    "crashed": Advice(
        "three Jobs in a row ended without a word, or never got to run",
        "`kubectl describe` and `kubectl logs` of Job and pods; quota, memory, nodes, image",
    ),
    "accountReplaced": Advice(
        (
            "the account has just got another key, by a rollover or because the CA deactivated it, or it was "
            "[reset](issuers.md#another-account), or is getting it: no failure, and no Event but when it happens "
            "twice in a row"
        ),
        "nothing: the next sweep launches a Job that has the key, or the next apply",
    ),
    "accountDeactivated": Advice(
        "the CA has deactivated the account again, within a day",
        ("the text; why does the CA close the account? Then [another one](issuers.md#another-account) ends the wait"),
    ),
    "orderDropped": Advice(
        (
            "orders were invalid, another's or beyond proof, or what they gave was no certificate for the key and "
            "hosts, three times"
        ),
        "the text has the last reason; the Job's log, event `order-dropped`",
    ),
    "foreignUrl": Advice(
        (
            "an answer of the CA leads to a host that is [not the CA's](issuers.md#whom-certjob-asks); nothing "
            "was sent there"
        ),
        "the CA's own configuration of its URLs; `server`",
    ),
    "foreignAuthorization": Advice(
        "the CA wants a proof for a host that was not ordered; none was given",
        "the CA",
    ),
    "timeout": Advice(
        "the CA had not decided when the Job ended, nor said anything about the hosts in the text",
        "nothing, the order is taken up again",
    ),
    "unsupportedChallenge": Advice(
        (
            "the CA offers no challenge for the host of the type that the issuer's solver has, or there is no "
            "solver for it"
        ),
        "another solver in the issuer, or another CA",
    ),
    "keyOutdated": Advice(
        "another key algorithm is wanted since the Job was launched: no failure, and no Event",
        "nothing, the next attempt has another key for the same order",
    ),
    "keyRevoked": Advice(
        "the order's key is that of a certificate which was revoked meanwhile",
        "nothing, the next attempt makes another key and order",
    ),
    "notRevocable": Advice(
        "in `CertificateNotRevoked`: the issuer's type publishes nothing about what is revoked",
        "whoever trusts the certificate does so until it ends: take its CA out of their trust, or wait",
    ),
    "noUsableAnswer": Advice(
        "the CA did not answer, or with nothing that can be used, at the step that the text begins with",
        "the text: network, proxy, `server`, `caBundle`; else the CA's own log at that time",
    ),
    "about:blank": Advice(
        "the CA's words, without a type",
        "the text",
    ),
    "rejectedIdentifier": Advice(
        (
            "the CA does not certify this host; about a proof: the host answered something else than it should "
            "(step-ca and Caddy call it so)"
        ),
        "another host or CA; see `unauthorized`",
        "yes, unless it is about a proof (`step` is `authorization`)",
    ),
    "unsupportedIdentifier": Advice(
        (
            "the CA does not certify this host; about a proof: the host answered something else than it should "
            "(step-ca and Caddy call it so)"
        ),
        "another host or CA; see `unauthorized`",
        "yes, unless it is about a proof (`step` is `authorization`)",
    ),
    "caa": Advice(
        "a CAA record forbids this CA",
        "correct the DNS",
        "yes",
    ),
    "badCSR": Advice(
        "the CA dislikes key or names",
        "another key algorithm",
        "yes",
    ),
    "invalidProfile": Advice(
        "the CA has no such profile; the text lists those it has",
        "correct the profile",
        "yes",
    ),
    "externalAccountRequired": Advice(
        "external account binding is missing or refused, whatever the CA calls it",
        (
            "`externalAccount` and the Secret `credentials-ISSUER`; after a correction of the Secret [have the "
            "issuer tested](issuers.md#test-an-issuer): what failed is tried by the next sweep"
        ),
        "yes",
    ),
    "unauthorized": Advice(
        "the CA saw something else at the challenge path than certjob's answer",
        "let the ingress controller answer that path by certjob's route: [ask the host](#ask-a-host-as-the-ca-does)",
    ),
    "connection": Advice(
        "the CA could not connect to the host on port 80",
        "let port 80 of the host's address reach the ingress controller, and DNS lead there: "
        "[ask the host](#ask-a-host-as-the-ca-does)",
    ),
    "tls": Advice(
        "the CA could not connect to the host on port 80",
        "let port 80 of the host's address reach the ingress controller, and DNS lead there: "
        "[ask the host](#ask-a-host-as-the-ca-does)",
    ),
    "dns": Advice(
        "the host does not resolve for the CA",
        "correct the DNS",
    ),
    "rateLimited": Advice(
        "a limit of the CA",
        "wait; the Event says until when",
    ),
    "userActionRequired": Advice(
        "the CA wants a person to act",
        "the text",
    ),
    "serverInternal": Advice(
        "the CA's words",
        "the text",
    ),
    "malformed": Advice(
        "the CA's words",
        "the text",
    ),
    "badNonce": Advice(
        "the CA's words",
        "the text",
    ),
}
