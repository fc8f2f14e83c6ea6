"""What certjob keeps in its own namespace, as the policies expect it."""

from __future__ import annotations

import re
from base64 import b64decode

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.account.keys import account_secret
from issuer_job.hosts.claims import claim_body
from issuer_job.http01.solver import challenge_body
from issuer_job.issue.obtaining.pending_key import pending_secret
from issuer_job.issuers.state import state_body
from issuer_job.record.record import Phase
from tests.worlds.samples import attempt, record

SERVER = "https://ca.certjob.dev/dir"


def test_keys_are_immutable_and_named_as_the_policies_want() -> None:
    pending = pending_secret(record(attempt=attempt(pending_key="")), b"k")
    assert pending["metadata"]["name"] == names.pending_key(record().uid, record().epoch)
    assert pending["metadata"]["labels"][v.RECORD_UID] == record().uid
    assert b64decode(pending["data"][v.PENDING_OWNER]).decode() == record().uid
    assert pending["metadata"]["ownerReferences"] == [record().owner_reference]
    account = account_secret("le", SERVER, 2, b"k")
    assert re.fullmatch(
        "account-[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?-[0-9a-f]{10}-[0-9]{1,9}", account["metadata"]["name"]
    )
    assert "ownerReferences" not in account["metadata"]
    assert pending["immutable"] is account["immutable"] is True
    assert pending["type"] == account["type"] == "Opaque"


def test_claims_and_states_have_no_owner() -> None:
    claim = claim_body("a.dev", "shop")
    assert claim["data"] == {"host": "a.dev", "namespace": "shop"}
    parent = names.claim_parent("*.dev")
    assert claim["metadata"]["labels"] == {v.CLAIM: "true", v.CLAIM_PARENT: parent, v.MANAGED_BY: "certjob"}
    state = state_body("le", SERVER, {"accountUrl": "u"})
    assert state["metadata"]["labels"] == {v.ISSUER_STATE: "true", v.MANAGED_BY: "certjob"}
    challenge = challenge_body(record(Phase.AUTHORIZING), {"t": "t.x"})
    assert challenge["metadata"]["ownerReferences"] == [record().owner_reference]
    assert challenge["metadata"]["labels"][v.CHALLENGE] == "true"
    for made in (claim, state, challenge):
        assert v.ISSUER not in made["metadata"]["labels"]
