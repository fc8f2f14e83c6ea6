"""The Flask application of the status page: a few addresses, each of which has a twin that ends in .json."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from importlib.resources import files

import msgspec
from flask import Flask, Response, render_template, request
from werkzeug.exceptions import (
    BadRequest,
    HTTPException,
    InternalServerError,
    MisdirectedRequest,
    NotFound,
    ServiceUnavailable,
)

from issuer_job import log
from issuer_job.polling import utc_now
from issuer_job.status.document import CertificateStatusList, IssuerStatusList
from issuer_job.status.shown import Shown
from webhook.view.page import drawing
from webhook.view.page.guard import HEADERS, KnownHosts
from webhook.view.page.listing import Listing, chosen
from webhook.view.page.overview import overview
from webhook.view.page.query import BadQuery, Query, read_query
from webhook.view.page.source import PageSource
from webhook.view.page.words import PAGE, TWIN, prepare

FILES = {"style.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}


@dataclass(frozen=True)
class PageAnswer:
    """What is told, as a document, and as a page: a template and what it prints besides."""

    document: Shown
    template: str
    context: Mapping[str, object] = field(default_factory=dict)
    links: str = ""
    """The pages beside this one (RFC 8288)."""


View = Callable[[Query, datetime], PageAnswer]


def create_page(source: PageSource, *, hosts: Iterable[str] = (), clock: Callable[[], datetime] = utc_now) -> Flask:
    """The application. `hosts` are names that it may be called by, besides those of the machine itself."""
    app = Flask(__name__, static_folder=None)
    prepare(app.jinja_env)
    known = KnownHosts(hosts)

    def add(path: str, view: Callable[..., Response]) -> None:
        app.add_url_rule(path, path, view, methods=["GET"], provide_automatic_options=False)

    for name, kind in FILES.items():
        add(f"/{name}", _file(name, kind))
    views: tuple[tuple[str, str, View], ...] = (
        ("/", "/overview", partial(_overview, source)),
        ("/certificates", "/certificates", partial(_certificates, source)),
        ("/issuers", "/issuers", partial(_issuers, source)),
    )
    for page, twin, view in views:
        for path in (page, f"{twin}{TWIN}"):
            add(path, partial(_answered, source, clock, view))
    add("/certificates/<namespace>/<name>", partial(_answered_one, source, clock))

    @app.before_request
    def guard() -> None:
        if not known.knows(request.environ.get("HTTP_HOST", "")):
            raise MisdirectedRequest

    @app.after_request
    def guarded(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response

    @app.errorhandler(Exception)
    def refused(problem: Exception) -> Response:
        if isinstance(problem, HTTPException):
            return _refusal(problem)
        log.exception("page")
        return _refusal(InternalServerError("Something went wrong here; the log of the view says what."))

    return app


def _answered(source: PageSource, clock: Callable[[], datetime], view: View) -> Response:
    if not source.is_complete():
        raise ServiceUnavailable("The records are being read. Ask again in a few seconds.", retry_after=2)
    try:
        query, now = read_query(request.args), clock()
    except BadQuery as problem:
        raise BadRequest(f"The address says something that has no meaning: {problem}.") from None
    told = view(query, now)
    if request.path.endswith(TWIN):
        response = Response(msgspec.json.encode(told.document), mimetype="application/json")
        if told.links:
            response.headers["Link"] = told.links
        return response
    page = render_template(told.template, now=now, query=query, heard_at=source.heard_at(), **told.context)
    response = Response(page)
    if query.refresh:
        response.headers["Refresh"] = str(query.refresh)
    return response


def _answered_one(source: PageSource, clock: Callable[[], datetime], *, namespace: str, name: str) -> Response:
    secret = name.removesuffix(TWIN) if name.endswith(TWIN) else name.removesuffix(PAGE)
    return _answered(source, clock, partial(_certificate, source, namespace, secret))


def _overview(source: PageSource, query: Query, now: datetime) -> PageAnswer:
    shown = overview(source, now)
    return PageAnswer(shown, "overview.html", {"shown": shown})


def _certificates(source: PageSource, query: Query, now: datetime) -> PageAnswer:
    listing = chosen(source.rows(), query, now=now.timestamp(), problem_of=source.problem_of)
    items = tuple(source.certificates(listing.rows, now))
    issuers = [issuer.name for issuer in source.issuers(now)]
    context = {"listing": listing, "items": items, "issuers": issuers}
    document = CertificateStatusList(at=now, items=items)
    return PageAnswer(document, "certificates.html", context, _links(query, listing))


def _certificate(source: PageSource, namespace: str, name: str, query: Query, now: datetime) -> PageAnswer:
    row = source.find(namespace, name)
    items = tuple(source.certificates([row] if row is not None else [], now))
    if not items:
        raise NotFound("There is no such certificate, or none any more.")
    [shown] = items
    life = drawing.life(shown.certificate, now) if shown.certificate is not None else None
    context = {"shown": shown, "life": life, "picture": drawing.timeline(shown.timeline)}
    return PageAnswer(CertificateStatusList(at=now, items=items), "certificate.html", context)


def _issuers(source: PageSource, query: Query, now: datetime) -> PageAnswer:
    items = tuple(source.issuers(now))
    return PageAnswer(IssuerStatusList(at=now, items=items), "issuers.html", {"items": items})


def _refusal(problem: HTTPException) -> Response:
    """For people, or for programs; who calls the page by a name that it does not know gets no page at all."""
    code, told = problem.code or 500, problem.description or problem.name
    if isinstance(problem, MisdirectedRequest):
        told = "This page does not know the name that it was called by: localhost, or one of CERTJOB_PAGE_HOSTS."
        response = Response(told + "\n", code, mimetype="text/plain")
    elif request.path.endswith(TWIN):
        response = Response(msgspec.json.encode({"error": told}), code, mimetype="application/json")
    else:
        response = Response(render_template("refusal.html", code=code, name=problem.name, told=told), code)
    for name, value in problem.get_headers():
        if name.lower() in {"allow", "retry-after"}:
            response.headers[name] = value
    return response


def _links(query: Query, listing: Listing) -> str:
    beside = {"prev": listing.page - 1, "next": listing.page + 1}
    return ", ".join(
        f'</certificates{TWIN}{query.but(page=page, refresh=0)}>; rel="{name}"'
        for name, page in beside.items()
        if 1 <= page <= listing.pages
    )


def _file(name: str, kind: str) -> Callable[[], Response]:
    content = files(__package__).joinpath(name).read_bytes()
    return lambda: Response(content, content_type=kind)
