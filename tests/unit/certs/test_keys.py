"""Private keys and signing requests."""

from hashlib import sha256

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from certs.csr import build_csr
from certs.errors import CertError
from certs.keys import CertifiedKey, KeyAlgorithm, generate_key, key_from_pem, key_id, key_to_pem
from tests.fakes.certs_ca import new_key


@pytest.mark.parametrize(
    ("algorithm", "curve"),
    [(KeyAlgorithm.ECDSA_P256, "secp256r1"), (KeyAlgorithm.ECDSA_P384, "secp384r1")],
)
def test_ecdsa_key_has_its_curve(algorithm: KeyAlgorithm, curve: str) -> None:
    key = generate_key(algorithm)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == curve


@pytest.mark.exhaustive
@pytest.mark.parametrize(("algorithm", "size"), [(KeyAlgorithm.RSA_2048, 2048), (KeyAlgorithm.RSA_3072, 3072)])
def test_rsa_key_has_its_size(algorithm: KeyAlgorithm, size: int) -> None:
    key = generate_key(algorithm)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == size


def test_algorithms_are_spelled_as_the_annotation_has_them() -> None:
    assert list(KeyAlgorithm) == ["ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-3072", "rsa-4096"]


def test_pem_is_pkcs8_and_reads_back_as_the_same_key() -> None:
    key = new_key()
    pem = key_to_pem(key)
    assert pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert key_from_pem(pem).private_numbers() == key.private_numbers()


def test_sec1_key_is_read() -> None:
    key = new_key()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert key_id(key_from_pem(pem)) == key_id(key)


def test_rsa_key_whose_numbers_do_not_fit_is_refused() -> None:
    good = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    assert key_id(key_from_pem(key_to_pem(good))) == key_id(good)
    numbers = good.private_numbers()
    for parts in (["d", "dmp1", "dmq1"], ["dmp1"], ["dmq1"], ["iqmp"]):
        fields = {name: getattr(numbers, name) for name in ("p", "q", "d", "dmp1", "dmq1", "iqmp")}
        fields |= {part: fields[part] + 2 for part in parts}
        damaged = rsa.RSAPrivateNumbers(**fields, public_numbers=numbers.public_numbers)
        pem = key_to_pem(damaged.private_key(unsafe_skip_rsa_key_validation=True))
        with pytest.raises(CertError, match="is damaged"):
            key_from_pem(pem)


def test_key_id_is_from_the_public_key() -> None:
    key = new_key()
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert key_id(key) == key_id(key.public_key()) == sha256(spki).hexdigest()[:20]


def test_encrypted_key_is_refused() -> None:
    pem = new_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    with pytest.raises(CertError, match="is encrypted") as caught:
        key_from_pem(pem)
    assert caught.value.__suppress_context__


def test_key_that_no_public_ca_certifies_is_refused() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(CertError, match="neither ECDSA nor RSA"):
        key_from_pem(pem)


def test_oversized_key_is_refused_unread() -> None:
    with pytest.raises(CertError, match="larger than"):
        key_from_pem(key_to_pem(new_key()) + b"\n" * 9000)


def test_error_does_not_quote_the_key() -> None:
    pem = key_to_pem(new_key())
    body = pem.splitlines()[1]
    with pytest.raises(CertError) as caught:
        key_from_pem(pem.replace(body, body[:-8]))
    assert body[:8].decode() not in str(caught.value)
    assert caught.value.__suppress_context__


def test_repr_does_not_show_the_key() -> None:
    shown = repr(CertifiedKey(key_pem=b"the-key", cert_chain_pems=b"the-chain"))
    assert "the-chain" in shown
    assert "the-key" not in shown


_KEY_PEM = key_to_pem(new_key())


@given(st.one_of(st.binary(max_size=300), st.tuples(st.integers(0, len(_KEY_PEM) - 1), st.integers(0, 255))))
def test_hostile_pem_gives_a_key_or_one_sentence(data: bytes | tuple[int, int]) -> None:
    if isinstance(data, tuple):
        place, byte = data
        data = _KEY_PEM[:place] + bytes([byte]) + _KEY_PEM[place + 1 :]
    error = _error_of(data)
    assert error is None or error.endswith(".")


def _error_of(data: bytes) -> str | None:
    try:
        key_from_pem(data)
    except CertError as error:
        return str(error)
    return None


@pytest.mark.parametrize("algorithm", [KeyAlgorithm.ECDSA_P256, KeyAlgorithm.ECDSA_P384, KeyAlgorithm.RSA_2048])
def test_csr_names_the_hosts_once_and_has_an_empty_subject(algorithm: KeyAlgorithm) -> None:
    key = generate_key(algorithm)
    request = x509.load_der_x509_csr(build_csr(key, ["b.acme.io", "A.acme.io.", "*.acme.io", "b.acme.io"]))
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["b.acme.io", "a.acme.io", "*.acme.io"]
    assert list(request.subject) == []
    assert request.is_signature_valid
    assert request.public_key() == key.public_key()


def test_csr_for_a_host_longer_than_a_common_name() -> None:
    host = "a" * 60 + "." + "b" * 60 + ".io"
    request = x509.load_der_x509_csr(build_csr(new_key(), [host]))
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [host]


@pytest.mark.parametrize("hosts", [[], ["bücher.io"]])
def test_csr_without_usable_hosts_is_an_error(hosts: list[str]) -> None:
    with pytest.raises(CertError):
        build_csr(new_key(), hosts)
