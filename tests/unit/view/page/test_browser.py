"""The page in a real Chromium: without JavaScript, in the dark, by keyboard, on small screens, for screen readers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.worlds.browser import Seen, at_loopback, chromium
from tests.worlds.page import NASTY, PageWorld, hostile

pytestmark = pytest.mark.process

PAGES = ("/", "/certificates?q=tls&namespace=team-a", "/certificates/team-b/app-tls", "/issuers", "/nowhere")
NARROW, WIDE = {"width": 320, "height": 640}, {"width": 1280, "height": 900}
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
OUTLINED = "element => getComputedStyle(element).outlineStyle !== 'none' && element.matches(':focus-visible')"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with at_loopback(PageWorld.of_fleet().app) as address:
        yield address


@pytest.fixture(scope="module")
def hostile_site() -> Iterator[str]:
    with at_loopback(PageWorld([*hostile()]).app) as address:
        yield address


@contextmanager
def opened(browser: Browser, address: str, **options: Any) -> Iterator[Page]:
    """A page in a context of its own."""
    context: BrowserContext = browser.new_context(base_url=address, **{"viewport": WIDE, **options})
    try:
        yield context.new_page()
    finally:
        context.close()


def test_all_works_without_javascript(browser: Browser, site: str) -> None:
    with opened(browser, site, java_script_enabled=False) as page:
        page.goto("/")
        page.get_by_role("link", name="6 not ready").click()
        expect(page.get_by_role("row")).to_have_count(7)
        page.get_by_label("State").select_option("Failed")
        page.get_by_role("button", name="Show").click()
        expect(page.get_by_role("row")).to_have_count(3)
        page.get_by_role("link", name="team-b/www-tls").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("www-tls")
        expect(page.get_by_text("kubectl certjob retry -n team-b www-tls")).to_be_visible()
        page.get_by_role("link", name="letsencrypt").click()
        expect(page.get_by_role("heading", name="letsencrypt", exact=True)).to_be_in_viewport()


def test_it_loads_nothing_from_elsewhere_and_breaks_no_policy(browser: Browser, site: str) -> None:
    seen = Seen()
    with opened(browser, site) as page:
        seen.watch(page)
        for address in PAGES[:-1]:
            page.goto(address)
        assert page.context.cookies() == []
    assert seen.complaints == []
    assert seen.addresses
    assert all(address.startswith(site) for address in seen.addresses)


@pytest.mark.parametrize(
    ("scheme", "viewport", "pages", "rules"),
    [
        ("light", WIDE, PAGES, None),
        ("light", NARROW, PAGES[1:3], None),
        ("dark", WIDE, PAGES[:3], ["color-contrast", "link-in-text-block"]),
    ],
    ids=["light", "narrow", "dark"],
)
def test_a_screen_reader_and_eyes_of_all_kinds_have_no_serious_trouble(
    browser: Browser, site: str, scheme: str, viewport: Any, pages: Sequence[str], rules: list[str] | None
) -> None:
    options = {"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})}
    with opened(browser, site, color_scheme=scheme, viewport=viewport) as page:
        for address in pages:
            page.goto(address)
            found = Axe().run(page, options=options).response["violations"]
            serious = [one for one in found if one["impact"] in {"serious", "critical"}]
            assert serious == [], (address, [(one["id"], one["nodes"][0]["html"]) for one in serious])


def test_light_and_dark_are_the_browsers_choice(browser: Browser, site: str) -> None:
    grounds = []
    with opened(browser, site) as page:
        page.goto("/")
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            grounds.append(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
    light, dark = (sum(int(part) for part in ground[4:-1].split(",")) for ground in grounds)
    assert light > 3 * 230
    assert dark < 3 * 40


def test_everything_is_reached_by_keyboard_and_seen_when_it_is(browser: Browser, site: str) -> None:
    with opened(browser, site) as page:
        page.goto("/certificates")
        page.keyboard.press("Tab")
        skip = page.get_by_role("link", name="Skip to the content")
        expect(skip).to_be_focused()
        expect(skip).to_be_in_viewport()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        expect(page.get_by_label("Name or host")).to_be_focused()
        page.keyboard.type("pay.example")
        page.keyboard.press("Enter")
        expect(page.get_by_role("row")).to_have_count(2)
        # Every link, field and button of the page in turn, each with its outline.
        reached: list[str] = []
        count = page.locator("a[href], input:not([type=hidden]), select, button").count()
        for _ in range(count):
            page.keyboard.press("Tab")
            focus = page.locator(":focus")
            assert focus.evaluate(OUTLINED)
            reached.append(focus.evaluate("element => element.outerHTML"))
        assert len(set(reached)) == count


def test_nothing_is_scrolled_sideways_on_the_smallest_screen(browser: Browser, site: str, hostile_site: str) -> None:
    with opened(browser, site, viewport=NARROW) as page:
        for address in (*PAGES, "/certificates?problem=connection&due=24h&q=x", "/certificates/saas/tenants-tls"):
            page.goto(address)
            assert page.evaluate(SIDEWAYS) == 0, address
        for address in ("/", "/certificates", "/certificates/shop/evil-tls"):
            page.goto(f"{hostile_site}{address}")
            assert page.evaluate(SIDEWAYS) == 0, address


def test_hostile_texts_stay_text(browser: Browser, hostile_site: str) -> None:
    seen = Seen()
    with opened(browser, hostile_site) as page:
        seen.watch(page)
        for address in ("/", "/certificates", "/certificates/shop/evil-tls", f"/certificates?q={NASTY[:30]}"):
            page.goto(address)
            assert page.locator("script, img[src=x], iframe").count() == 0
        page.goto("/certificates/shop/evil-tls")
        expect(page.get_by_text("<script>alert(1)</script>").first).to_be_visible()
    assert seen.complaints == []
    assert all(address.startswith(hostile_site) for address in seen.addresses)
