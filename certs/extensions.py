"""X.509 extensions that several builders share."""

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID


def key_usage(*, digital_signature: bool = False, ca: bool = False) -> x509.KeyUsage:
    """KeyUsage with only what is named: signing handshakes, or signing certificates and CRLs."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


SIGNS_HANDSHAKES = key_usage(digital_signature=True)
SIGNS_CERTIFICATES = key_usage(ca=True)
SERVER_AUTH = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
