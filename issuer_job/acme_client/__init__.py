"""ACME (RFC 8555) for one account: typed results, precise errors, no flow and no Kubernetes.

    with AcmeClient.connect(url, ca_bundle_pem=None, account_key_pem=pem, account_url=None, ...) as client:
        client.ensure_account(contact=["admin@example.org"], terms_agreed=True)
        order = client.new_order(["www.example.org"])

Only this package imports acme, josepy and requests.
"""

from issuer_job.acme_client.client import AcmeClient
from issuer_job.acme_client.directory import Directory, RenewalClient
from issuer_job.acme_client.keys import AccountKey, AccountKeyAlgorithm, EabKey, new_account_key, normal_account_key
from issuer_job.acme_client.orders import Account, Authorization, Challenge, Order, RenewalInfo
from issuer_job.acme_client.problems import (
    PERMANENT_TYPES,
    UNUSABLE,
    AcmeError,
    AcmeProblem,
    AcmeUnavailable,
    CaSilent,
    ExternalAccountRefused,
)

__all__ = [
    "PERMANENT_TYPES",
    "UNUSABLE",
    "Account",
    "AccountKey",
    "AccountKeyAlgorithm",
    "AcmeClient",
    "AcmeError",
    "AcmeProblem",
    "AcmeUnavailable",
    "Authorization",
    "CaSilent",
    "Challenge",
    "Directory",
    "EabKey",
    "ExternalAccountRefused",
    "Order",
    "RenewalClient",
    "RenewalInfo",
    "new_account_key",
    "normal_account_key",
]
