"""acme2certifier with its openssl handler: an ACME server in Python, under gunicorn with TLS."""

from __future__ import annotations

import configparser
import json
import os
import sys
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from pathlib import Path

from tests.cluster import settings as s
from tests.e2e.peers.authority import WithAuthority

KEY_ID = "team-a"
MAC_KEY = urlsafe_b64encode(b"a key of thirty-two bytes and a few, as it demands").rstrip(b"=")
PROFILES = ("plain", "fast")
PACKAGE = "acme2certifier"


class Acme2certifier(WithAuthority):
    """`only` is its one flavour, as its settings are the whole server's."""

    name = "acme2certifier"
    title = "acme2certifier 0.46.3"
    email = "ops@certjob.test"
    flavours = frozenset({"external", "refusing", "forcing"})
    lacks = {"short lives": "counts lives in whole days"}
    only = ""

    def url(self, flavour: str = "") -> str:
        return f"https://{self.host}:{self.port}/directory"

    def use(self, flavour: str) -> str:
        if flavour != self.only:
            self.only = flavour
            self.restart()
        return self.url()

    def command(self) -> Sequence[str | Path]:
        # Not the tests' own interpreter: its environment has other versions of the same packages.
        python = Path(os.path.realpath(sys.executable))
        flags = [f"--bind={s.NODE_IP}:{self.port}", "--threads=8", "--graceful-timeout=1"]
        flags += [f"--certfile={self.authority.server}", f"--keyfile={self.authority.server_key}"]
        return (python, "-m", "gunicorn", *flags, f"{PACKAGE}.share.acme2certifier_wsgi:application")

    def environment(self) -> dict[str, str]:
        return {
            "PYTHONPATH": str(self.programs.packages),
            "PYTHONDONTWRITEBYTECODE": "1",
            "ACME_SRV_CONFIGFILE": str(self.directory / "acme_srv.cfg"),
        }

    def configure(self) -> None:
        self.database.mkdir(exist_ok=True)
        (self.directory / "certificates").mkdir(exist_ok=True)
        (self.directory / "keys.json").write_text(json.dumps({KEY_ID: MAC_KEY.decode()}))
        config = configparser.ConfigParser(interpolation=None)
        config.read_dict(self._sections())
        with (self.directory / "acme_srv.cfg").open("w") as out:
            config.write(out)

    def _sections(self) -> dict[str, dict[str, str]]:
        handler = {
            "handler_module": f"{PACKAGE}.cahandlers.openssl_ca_handler",
            "issuing_ca_key": str(self.authority.key),
            "issuing_ca_cert": str(self.authority.intermediate),
            "issuing_ca_crl": str(self.directory / "crl.pem"),
            "ca_cert_chain_list": json.dumps([str(self.authority.root)]),
            "cert_save_path": str(self.directory / "certificates"),
            "cert_validity_days": "1",
        }
        sections = {
            "DEFAULT": {"debug": "False"},
            "CAhandler": handler,
            "DBhandler": {
                "handler_module": f"{PACKAGE}.dbhandlers.wsgi_handler",
                "dbfile": str(self.database / "acme_srv.db"),
            },
            "Order": {"profiles": json.dumps({name: f"https://{self.host}/{name}" for name in PROFILES})},
            "Renewalinfo": {"renewal_force": str(self.only == "forcing")},
        }
        if self.only == "refusing":
            handler["cert_save_path"] = str(self.directory / "not-there")
        if self.only == "external":
            keys = {"eab_handler_module": f"{PACKAGE}.eabhandlers.json_handler"}
            sections["EABhandler"] = keys | {"key_file": str(self.directory / "keys.json")}
        return sections
