"""Records in little memory: what is told of one, and nothing that only Jobs have a use for. Pure."""

from __future__ import annotations

import zlib

import msgspec
from msgspec.structs import replace

from issuer_job.record.record import Record

MOST_BYTES = 256 * 1024
"""Of one, before it is compressed: twice what the largest has that certjob writes."""
_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Record).decode


def pack(record: Record) -> bytes:
    """Half a KiB to one for most. Raises ValueError for one that no certjob has written."""
    attempt, issued = record.attempt, record.issued
    if attempt is not None:
        attempt = replace(attempt, holder="", account="", order_url="", replaces="", pending_key="")
    if issued is not None:
        issued = replace(issued, account="", cert_id="", leaf="", secret_uid="", secret_version="")
    packed = _encode(replace(record, attempt=attempt, issued=issued, former=(), ledger=()))
    if len(packed) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES // 1024} KiB")
    return zlib.compress(packed)


def unpack(packed: bytes) -> Record:
    """The record, as far as it was kept."""
    return _decode(zlib.decompress(packed))
