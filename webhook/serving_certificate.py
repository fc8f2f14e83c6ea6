"""The webhook's TLS context, made anew when the certificate on disk is replaced. No restart, no signal."""

from __future__ import annotations

import os
import ssl
from datetime import datetime
from functools import cache
from pathlib import Path
from threading import Lock

from certs.chain import parse_chain
from certs.errors import CertError
from issuer_job import log

_Version = tuple[tuple[int, int, int], ...]


class ServingCertificate:
    """A TLS server context from two PEM files; asked at each handshake.

    Files that do not fit together or cannot be read (they are just being replaced) leave the last good
    context in use; without one ssl.SSLError or OSError is raised, which ends that handshake only.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self._lock = Lock()
        self._version: _Version | None = None
        self._context: ssl.SSLContext | None = None
        self._not_after: datetime | None = None

    def context(self) -> ssl.SSLContext:
        """The context of the certificate that is on disk now."""
        try:
            version = self._look()
            with self._lock:
                if self._context is None or version != self._version:
                    self._context = self._load()
                    self._version = version
                return self._context
        except OSError as problem:  # ssl.SSLError is one
            if self._context is None:
                raise
            log.warning("certificate-not-loaded", problem=type(problem).__name__)
            return self._context

    def not_after(self) -> datetime:
        """When the certificate ends that is shown now. Raises OSError where there is none."""
        self.context()
        if self._not_after is None:
            raise OSError("no certificate")
        return self._not_after

    def _look(self) -> _Version:
        stats = [os.stat(path) for path in self._files]
        return tuple((s.st_mtime_ns, s.st_ino, s.st_size) for s in stats)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.num_tickets = 0  # the API server keeps its connections; a ticket would only cost memory
        certificate, key = self._files
        context.load_cert_chain(certificate, key)
        try:
            self._not_after = parse_chain(certificate.read_bytes())[0].not_valid_after_utc
        except CertError:  # OpenSSL takes it
            self._not_after = None
        return context


@cache
def serving() -> ServingCertificate:
    """The process's own: tls.crt and tls.key in CERTJOB_TLS_DIR, by default /tls."""
    directory = Path(os.environ.get("CERTJOB_TLS_DIR", "/tls"))
    return ServingCertificate(directory / "tls.crt", directory / "tls.key")
