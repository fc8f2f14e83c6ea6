"""Caddy with `acme_server`: its own local CA over ACME, by the same code as step-ca."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.cluster import settings as s
from tests.e2e.peers.server import Server, free_port


class Caddy(Server):
    """A site for each flavour, all of the CA `local`."""

    name = "caddy"
    title = "Caddy 2.11.7"
    flavours = frozenset({"short"})
    too_long = "500d"
    lacks = {
        "external account": "has no external accounts",
        "profiles": "has no profiles",
        "key change": "refuses to change account keys",
        "renewal information": "has no renewal information (ARI)",
    }

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.ports = {"": self.port, "short": free_port()}

    @property
    def database(self) -> Path:
        return self.directory / "data/caddy/acme_server"

    @property
    def _pki(self) -> Path:
        return self.directory / "data/caddy/pki"

    def new_authority(self) -> None:
        for path in (self._pki, self.directory / "data/caddy/certificates"):
            shutil.rmtree(path)

    def root_pem(self) -> bytes:
        return (self._pki / "authorities/local/root.crt").read_bytes()

    def url(self, flavour: str = "") -> str:
        return f"https://{self.host}:{self.ports[flavour]}/acme/local/directory"

    def command(self) -> Sequence[str | Path]:
        return (self.programs.caddy, "run", "--config", self.directory / "Caddyfile")

    def environment(self) -> dict[str, str]:
        return {name: str(self.directory / "data") for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME")}

    def configure(self) -> None:
        sites = "\n".join(self._site(flavour) for flavour in self.ports)
        globals_ = "admin off\n skip_install_trust\n auto_https disable_redirects"
        (self.directory / "Caddyfile").write_text(f"{{\n {globals_}\n}}\n{sites}")

    def _site(self, flavour: str) -> str:
        server = "acme_server {\n lifetime 15m\n}" if flavour == "short" else "acme_server"
        return f"https://{self.host}:{self.ports[flavour]} {{\nbind {s.NODE_IP}\ntls internal\n{server}\n}}\n"
