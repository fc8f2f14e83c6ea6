"""From cert-manager: what there is, what the operator chooses, and certjob's issuers for cert-manager's. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from issuer_job.issuers.types import directory_of
from issuer_job.migrate.others.cert_manager import ForeignCertificate, IssuerKey
from issuer_job.migrate.others.cm_controller import Controller
from issuer_job.migrate.others.cm_issuers import ForeignIssuer
from issuer_job.migrate.plans.estate import Estate
from issuer_job.migrate.translate.issuers import TranslatedIssuer, Uses, translated
from issuer_job.migrate.translate.naming import chosen_names


@dataclass(frozen=True)
class CertManager:
    """What it has; `controller` is None if it is not there."""

    certificates: tuple[ForeignCertificate, ...]
    issuers: Mapping[IssuerKey, ForeignIssuer]
    controller: Controller | None = None


@dataclass(frozen=True)
class Choices:
    """What the operator says: only one `namespace`; which issuer of certjob's stands for one of cert-manager's (by
    its name, of an Issuer with the namespace before it); whether what would be ordered moves, too; whether ACME
    accounts are made anew.
    """

    namespace: str = ""
    issuers: Mapping[str, str] = field(default_factory=dict)
    orders: bool = False
    new_accounts: bool = False


def targets(estate: Estate, theirs: CertManager, choices: Choices) -> dict[IssuerKey, TranslatedIssuer]:
    """certjob's issuer for each of cert-manager's that a Certificate names."""
    named: dict[IssuerKey, list[ForeignCertificate]] = {}
    for certificate in theirs.certificates:
        ref = certificate.spec.issuer_ref
        if not ref.is_foreign and (key := ref.key(certificate.metadata.namespace)) in theirs.issuers:
            named.setdefault(key, []).append(certificate)
    given = {key: choices.issuers[said] for key in named if (said := "/".join(filter(None, key))) in choices.issuers}
    taken = {*estate.issuers.valid, *estate.issuers.broken}
    first = {
        key: _translated(theirs, key, name=_plain(key), certificates=found, choices=choices)
        for key, found in named.items()
    }
    # An issuer of the same name at the same CA is the one, as it is after an interrupted move.
    same = {key: _plain(key) for key, made in first.items() if key not in given and _is_there(estate, made)}
    names = chosen_names(named, taken=taken - set(same.values()), given=given | same)
    return {
        key: _existing(theirs, key, names[key], first[key] if key in same else None)
        if names[key] in estate.issuers.valid
        else _translated(theirs, key, name=names[key], certificates=found, choices=choices)
        for key, found in named.items()
    }


def _existing(theirs: CertManager, key: IssuerKey, name: str, made: TranslatedIssuer | None) -> TranslatedIssuer:
    """An issuer that certjob has: what it says counts, and may be another thing than the translation by now."""
    plain = TranslatedIssuer(str(theirs.issuers[key]), name)
    return replace(made or plain, exists=True, solvers=())


def _plain(key: IssuerKey) -> str:
    return chosen_names([key], taken=(), given={})[key]


def _is_there(estate: Estate, made: TranslatedIssuer) -> bool:
    known = estate.issuers.valid.get(made.name)
    return not made.cannot and known is not None and directory_of(known) == directory_of(made.issuer)


def _translated(
    theirs: CertManager, key: IssuerKey, *, name: str, certificates: Iterable[ForeignCertificate], choices: Choices
) -> TranslatedIssuer:
    certificates = list(certificates)
    hosts = [host for each in certificates for host in (*each.spec.dns_names, each.spec.common_name) if host]
    keys = Counter(each.key_algorithm for each in certificates if each.key_algorithm is not None)
    uses = Uses(tuple(hosts), new_account=choices.new_accounts)
    if keys:
        uses = replace(uses, algorithm=keys.most_common(1)[0][0])
    controller = theirs.controller
    secrets = key[0] or (controller.secrets_of_cluster_issuers if controller else "cert-manager")
    return translated(theirs.issuers[key], name=name, secrets=secrets, uses=uses)
