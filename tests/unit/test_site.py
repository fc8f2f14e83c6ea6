"""The site of the documents, built as `make site` does it."""

import re
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.worlds.documents import ROOT

_LINK = re.compile(r'<(?P<tag>a|link|script|img)\b[^>]*?\b(?:href|src)="(?P<to>[^"]*)"')
_ID = re.compile(r'\bid="([^"]+)"')


@pytest.mark.process
def test_every_page_is_in_the_contents_and_every_link_leads_somewhere_on_the_site(tmp_path: Path) -> None:
    made = subprocess.run(["make", "site", f"SITE={tmp_path}"], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    site = tmp_path / "html"
    pages = {page: page.read_text() for page in site.rglob("*.html")}
    ids = {page: {*_ID.findall(text)} for page, text in pages.items()}
    documents = {site / "docs" / page.with_suffix(".html").name for page in (ROOT / "docs").glob("*.md")}
    documents |= {site / page.with_suffix(".html").name for page in ROOT.glob("*.md")}
    assert documents <= pages.keys()
    contents = pages[site / "index.html"].partition('<div class="sidebar-tree">')[2].partition("</aside>")[0]
    listed = {site / unquote(to) for to in re.findall(r'href="([^"#]+)', contents)}
    assert documents - {site / "README.html"} <= listed

    for page, text in pages.items():
        for tag, link in _LINK.findall(text):
            parts = urlsplit(link.replace("&amp;", "&"))
            if parts.scheme or parts.netloc:
                assert tag == "a", f"{page.name} asks others for {link}"
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert target.is_file(), f"{page.name}: {link}"
            assert not parts.fragment or target not in ids or unquote(parts.fragment) in ids[target], link
