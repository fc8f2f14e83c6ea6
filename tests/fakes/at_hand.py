"""The fake CA without a wire, for tests that ask it often."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.exceptions import ConnectionError, ReadTimeout
from urllib3 import HTTPResponse
from urllib3.exceptions import ProtocolError

from tests.fakes.acme import Request
from tests.fakes.acme_ca import FakeCA
from tests.fakes.ca import FakeOrders, NewCa

AT_HAND = "https://127.0.0.1:2"
"""Nobody listens there."""


@contextmanager
def acme_at_hand() -> Iterator[NewCa]:
    """As acme_server, but nothing goes over a wire: `requests` hears at once what the server would have said.

    What connections add, TLS, bounds and time, is the matter of tests/unit/acme_client, and over half of what an
    attempt costs. Requests to elsewhere do go over the wire.
    """
    pem = FakeCA("Fake TLS CA").pem
    ca = [FakeOrders(AT_HAND)]
    by_wire = HTTPAdapter.send

    def send(adapter: HTTPAdapter, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        if not str(request.url).startswith(f"{AT_HAND}/"):
            return by_wire(adapter, request, *args, **kwargs)
        body = request.body.encode() if isinstance(request.body, str) else request.body or b""
        asked = Request(str(request.method), request.path_url, dict(request.headers), {}, None, ("127.0.0.1", 2))
        reply = ca[0].handle(asked, body)
        if reply.hang:
            raise ConnectionError(ProtocolError("Connection aborted.", ConnectionResetError()), request=request)
        if reply.slow:
            raise ReadTimeout(request=request)
        headers, content = ca[0].sent(reply)
        raw = HTTPResponse(
            io.BytesIO(b"" if request.method == "HEAD" else content),
            headers=headers,
            status=reply.status,
            request_method=request.method,
            preload_content=False,
        )
        return adapter.build_response(request, raw)

    def fresh() -> tuple[FakeOrders, bytes]:
        ca[0] = FakeOrders(AT_HAND)
        return ca[0], pem

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(HTTPAdapter, "send", send)
        yield fresh
