"""Whether an issuer's own Job has to do something with its account: for whoever launches it, without a CA. Pure."""

from __future__ import annotations

from issuer_job.issuers.state import RESET_FOR, RESETTING, ROLLED_OVER_FOR, ROLLING_OVER, IssuerState


def rollover_is_due(state: IssuerState, request: str) -> bool:
    """Whether a rollover was begun, or is asked for by a value of the annotation that none was made for."""
    return bool(state.data.get(ROLLING_OVER)) or request not in ("", state.data.get(ROLLED_OVER_FOR))


def reset_is_due(state: IssuerState, request: str) -> bool:
    """Whether another account was begun, or is asked for by a value of the annotation that none was made for."""
    return bool(state.data.get(RESETTING)) or request not in ("", state.data.get(RESET_FOR))
