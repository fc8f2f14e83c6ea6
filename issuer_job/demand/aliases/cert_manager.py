"""cert-manager's annotations on Ingresses, read as certjob's own. Pure.

Each is understood, ignored where that does no harm, or refused: then nothing is ordered, as what would come is not
what was asked for. What they mean is in cert-manager's documentation of its annotations.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from certs import hostnames
from certs.keys import KeyAlgorithm
from issuer_job import vocabulary as v

GROUP = "cert-manager.io"
PREFIXES = (f"{GROUP}/", f"acme.{GROUP}/")
ISSUER, CLUSTER_ISSUER = f"{GROUP}/issuer", f"{GROUP}/cluster-issuer"
ISSUER_KIND, ISSUER_GROUP = f"{GROUP}/issuer-kind", f"{GROUP}/issuer-group"
KEY_ALGORITHM, KEY_SIZE = f"{GROUP}/private-key-algorithm", f"{GROUP}/private-key-size"
RENEW_BEFORE = f"{GROUP}/renew-before"
COMMON_NAME = f"{GROUP}/common-name"
ROTATION, ENCODING = f"{GROUP}/private-key-rotation-policy", f"{GROUP}/private-key-encoding"
EDIT_IN_PLACE = f"acme.{GROUP}/http01-edit-in-place"
CHALLENGE_CLASSES = (f"acme.{GROUP}/http01-ingress-class", f"acme.{GROUP}/http01-ingress-ingressclassname")
KINDS = frozenset({"", "Issuer", "ClusterIssuer"})
_HOSTS_ALONE = "a certificate has the hosts of spec.tls, and nothing else"
_CANNOT: Mapping[str, str] = {
    f"{GROUP}/duration": "how long certificates live is the CA's to say, or the issuer's lifetime",
    f"{RENEW_BEFORE}-percentage": f"say {v.RENEW_BEFORE}, a length of time",
    f"{GROUP}/alt-names": _HOSTS_ALONE,
    f"{GROUP}/ip-sans": _HOSTS_ALONE,
    f"{GROUP}/uri-sans": _HOSTS_ALONE,
    f"{GROUP}/email-sans": _HOSTS_ALONE,
    f"{GROUP}/usages": "certificates are for servers alone",
    f"{GROUP}/secret-template": "write the labels and annotations on the Secret itself, where they stay",
}
_SUBJECT = f"{GROUP}/subject-"


@dataclass(frozen=True)
class Aliases:
    """What cert-manager's annotations on one Ingress say: certjob's annotations by name and value, names that are
    ignored, and one line for each that is refused.
    """

    annotations: Mapping[str, str]
    ignored: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


def read_aliases(
    notes: Mapping[str, str], *, hosts: Collection[str] = (), ingress_class: str | None = None
) -> Aliases | None:
    """What they say; None if there are none that count. Who names certjob's issuer has turned to certjob's own.

    `hosts` are all that the Ingress names, `ingress_class` is its class. Values that are wrong in themselves are read
    as they are: they are refused as certjob's own would be.
    """
    issuers = [notes[name] for name in (ISSUER, CLUSTER_ISSUER) if notes.get(name)]
    asks = issuers or notes.get(v.TLS_ACME, "").lower() == "true"
    theirs = {name: value for name, value in notes.items() if name.startswith(PREFIXES)}
    if notes.get(v.ISSUER) or not asks or not theirs:
        return None
    refused = [*_refused(theirs, hosts, ingress_class)]
    if len(issuers) > 1:
        refused.append(f"{ISSUER} and {CLUSTER_ISSUER} exclude each other")
    annotations = {v.ISSUER: issuers[0]} if issuers else {}
    algorithm = key_algorithm(theirs.get(KEY_ALGORITHM, ""), theirs.get(KEY_SIZE, ""))
    if algorithm is not None:
        annotations |= {v.KEY_ALGORITHM: algorithm} if KEY_ALGORITHM in theirs or KEY_SIZE in theirs else {}
    else:
        refused.append(f"{KEY_ALGORITHM}, {KEY_SIZE}: certjob makes no such key")
    if theirs.get(RENEW_BEFORE):
        annotations[v.RENEW_BEFORE] = theirs[RENEW_BEFORE]
    read = {ISSUER, CLUSTER_ISSUER, KEY_ALGORITHM, KEY_SIZE, RENEW_BEFORE, ISSUER_KIND, ISSUER_GROUP}
    return Aliases(annotations, tuple(sorted(theirs.keys() - read)), tuple(refused))


def key_algorithm(algorithm: str, size: str | int) -> KeyAlgorithm | None:
    """certjob's word for a key of cert-manager's, None if it makes none; by default RSA of 2048 bits."""
    bits = str(size) if size else {"ECDSA": "256"}.get(algorithm, "2048")
    word = {"": f"rsa-{bits}", "RSA": f"rsa-{bits}", "ECDSA": f"ecdsa-p{bits}"}.get(algorithm, "")
    return KeyAlgorithm(word) if word in set(KeyAlgorithm) else None


def _refused(theirs: Mapping[str, str], hosts: Collection[str], ingress_class: str | None) -> Iterator[str]:
    for name, value in theirs.items():
        why = _CANNOT.get(name) or ("public CAs certify hosts alone" if name.startswith(_SUBJECT) else "")
        if why and value:
            yield f"{name}: {why}"
    if theirs.get(ISSUER_KIND, "") not in KINDS or theirs.get(ISSUER_GROUP, "") not in {"", GROUP}:
        yield f"{ISSUER_KIND}, {ISSUER_GROUP}: not an issuer of cert-manager's own"
    if theirs.get(ROTATION, "Always") != "Always":
        yield f"{ROTATION}: each certificate has a key of its own"
    if theirs.get(ENCODING, "PKCS8") != "PKCS8":
        yield f"{ENCODING}: keys are written as PKCS#8"
    if theirs.get(EDIT_IN_PLACE, "").lower() == "true":
        yield f"{EDIT_IN_PLACE}: challenges get an Ingress of their own"
    name = hostnames.normalize(theirs.get(COMMON_NAME, ""))
    if name and name not in hosts:
        yield f"{COMMON_NAME}: {name[:60]!r} is none of the Ingress's hosts"
    for key in CHALLENGE_CLASSES:
        if theirs.get(key, ingress_class or "") != (ingress_class or ""):
            yield f"{key}: challenges have the class of their Ingress"
