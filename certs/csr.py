"""Certificate signing requests (PKCS#10) for ACME."""

from collections.abc import Iterable, Sequence

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from certs.errors import CertError
from certs.hostnames import normalize
from certs.keys import PrivateKey


def subject_alt_name(hosts: Iterable[str]) -> x509.SubjectAlternativeName:
    """The hosts, normalized and without duplicates, as DNS names; CertError if there are none or one is not ASCII."""
    names = list(dict.fromkeys(normalize(host) for host in hosts))
    if not names:
        raise CertError("A certificate needs at least one host.")
    try:
        return x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    except ValueError:
        raise CertError("A host is not written in ASCII.") from None


def build_csr(key: PrivateKey, hosts: Sequence[str]) -> bytes:
    """The DER request that ACME's finalize takes: the hosts as subjectAltName, and an empty subject.

    RFC 8555, section 7.4 lets a name stand in the commonName, in the subjectAltName, or both. The commonName
    holds 64 characters at most and CAs are giving it up, so it stays out and the CA chooses.
    """
    builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
    request = builder.add_extension(subject_alt_name(hosts), critical=False).sign(key, SHA256())
    return request.public_bytes(Encoding.DER)
