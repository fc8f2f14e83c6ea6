"""step-ca: the private CA of smallstep, with its own database (badger) and ACME provisioners."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.cluster import settings as s
from tests.e2e.peers.authority import WithAuthority


class StepCa(WithAuthority):
    """A directory for each provisioner; `acme` has all defaults."""

    name = "step-ca"
    title = f"step-ca {s.STEP_CA_VERSION}"
    flavours = frozenset({"short", "external"})
    too_long = "168h"
    lacks = {
        "external account": "keys are made by the commercial Certificate Manager alone",
        "profiles": "has no profiles",
        "key change": "refuses to change account keys",
        "renewal information": "has no renewal information (ARI)",
    }

    def url(self, flavour: str = "") -> str:
        return f"https://{self.host}:{self.port}/acme/{flavour or 'acme'}/directory"

    def command(self) -> Sequence[str | Path]:
        return (self.programs.step_ca, self.directory / "ca.json")

    def environment(self) -> dict[str, str]:
        return {"STEPPATH": str(self.directory / "step")}

    def configure(self) -> None:
        quarter = {f"{which}TLSCertDuration": "15m" for which in ("min", "max", "default")}
        provisioners: list[dict[str, Any]] = [
            {"name": "acme"},
            {"name": "short", "claims": quarter},
            {"name": "external", "requireEAB": True},
        ]
        document = {
            "root": str(self.authority.root),
            "crt": str(self.authority.intermediate),
            "key": str(self.authority.key),
            "address": f"{s.NODE_IP}:{self.port}",
            "dnsNames": [self.host],
            "logger": {"format": "json"},
            "db": {"type": "badgerv2", "dataSource": str(self.database)},
            "authority": {"provisioners": [{"type": "ACME"} | one for one in provisioners]},
        }
        (self.directory / "ca.json").write_text(json.dumps(document))
