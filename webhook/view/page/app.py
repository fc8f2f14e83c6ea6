"""The Flask application of the status page: a few addresses, each of which has a twin that ends in .json."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files

import msgspec
from flask import Flask, Response, render_template, request
from werkzeug.exceptions import BadRequest, HTTPException, MisdirectedRequest, NotFound, ServiceUnavailable

from issuer_job import log
from issuer_job.polling import utc_now
from issuer_job.status.document import CertificateStatusList, IssuerStatusList
from issuer_job.status.status import Shown
from webhook.view.page import drawing
from webhook.view.page.guard import HEADERS, KnownHosts
from webhook.view.page.listing import Listing, chosen
from webhook.view.page.overview import overview
from webhook.view.page.query import BadQuery, Query, read_query
from webhook.view.page.source import Source
from webhook.view.page.words import PAGE, TWIN, prepare

FILES = {"style.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}


@dataclass(frozen=True)
class Asked:
    """One request: what stands in the address, and when it was asked."""

    query: Query
    now: datetime
    twin: bool


def create_page(source: Source, *, hosts: Iterable[str] = (), clock: Callable[[], datetime] = utc_now) -> Flask:
    """The application. `hosts` are names that it may be called by, besides those of the machine itself."""
    app = Flask(__name__, static_folder=None)
    prepare(app.jinja_env)
    known = KnownHosts(hosts)
    for name, kind in FILES.items():
        app.add_url_rule(f"/{name}", name, _file(name, kind), provide_automatic_options=False)

    @app.before_request
    def guard() -> None:
        if not known.knows(request.environ.get("HTTP_HOST", "")):
            raise MisdirectedRequest

    def asked() -> Asked:
        if not source.is_complete():
            raise ServiceUnavailable("The records are being read. Ask again in a few seconds.", retry_after=2)
        try:
            query = read_query(request.args)
        except BadQuery as problem:
            raise BadRequest(f"The address says something that has no meaning: {problem}.") from None
        return Asked(query, clock(), request.path.endswith(TWIN))

    def answer(one: Asked, template: str, document: Shown, links: str = "", **context: object) -> Response:
        if one.twin:
            response = Response(msgspec.json.encode(document), mimetype="application/json")
            if links:
                response.headers["Link"] = links
        else:
            common = {"now": one.now, "query": one.query, "heard_at": source.heard_at()}
            response = Response(render_template(template, **common, **context))
        if one.query.refresh:
            response.headers["Refresh"] = str(one.query.refresh)
        return response

    @app.get("/", endpoint="overview", provide_automatic_options=False)
    @app.get("/overview.json", provide_automatic_options=False)
    def start() -> Response:
        one = asked()
        shown = overview(source, one.now)
        return answer(one, "overview.html", shown, shown=shown)

    @app.get("/certificates", endpoint="certificates", provide_automatic_options=False)
    @app.get("/certificates.json", provide_automatic_options=False)
    def certificates() -> Response:
        one = asked()
        listing = chosen(source.rows(), one.query, now=one.now.timestamp(), problem_of=source.problem_of)
        items = source.certificates(listing.rows, one.now)
        document = CertificateStatusList(at=one.now, items=tuple(items))
        issuers = [issuer.name for issuer in source.issuers(one.now)]
        return answer(
            one,
            "certificates.html",
            document,
            links=_links(one.query, listing),
            listing=listing,
            items=items,
            issuers=issuers,
        )

    @app.get("/certificates/<namespace>/<name>", endpoint="certificate", provide_automatic_options=False)
    def certificate(namespace: str, name: str) -> Response:
        one = asked()
        name = name.removesuffix(TWIN) if one.twin else name.removesuffix(PAGE)
        row = source.find(namespace, name)
        found = source.certificates([row], one.now) if row is not None else []
        if not found:
            raise NotFound("There is no such certificate, or none any more.")
        shown = found[0]
        life = drawing.life(shown.certificate, one.now) if shown.certificate is not None else None
        picture = drawing.timeline(shown.timeline)
        return answer(one, "certificate.html", shown, shown=shown, life=life, picture=picture)

    @app.get("/issuers", endpoint="issuers", provide_automatic_options=False)
    @app.get("/issuers.json", provide_automatic_options=False)
    def issuers() -> Response:
        one = asked()
        items = tuple(source.issuers(one.now))
        return answer(one, "issuers.html", IssuerStatusList(at=one.now, items=items), items=items)

    @app.errorhandler(Exception)
    def refused(problem: Exception) -> Response:
        if not isinstance(problem, HTTPException):
            log.exception("page")
            problem = HTTPException("Something went wrong here; the log of the view says what.")
            problem.code = 500
        return _refusal(problem)

    @app.after_request
    def guarded(response: Response) -> Response:
        response.headers.update(HEADERS)
        return response

    return app


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
    """The pages beside this one (RFC 8288)."""
    beside = {"prev": listing.page - 1, "next": listing.page + 1}
    return ", ".join(
        f'</certificates{TWIN}{query.but(page=page, refresh=0)}>; rel="{name}"'
        for name, page in beside.items()
        if 1 <= page <= listing.pages
    )


def _file(name: str, kind: str) -> Callable[[], Response]:
    content = files(__package__).joinpath(name).read_bytes()
    return lambda: Response(content, content_type=kind)
