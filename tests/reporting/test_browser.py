"""The page in a real browser: nothing runs, nothing is fetched, nothing overflows, everyone can read it."""

import io
import os
import shutil

import pytest

from gradcheck_suite.reporting.html import summary_fragment, write_page
from tests.reporting import samples

pytestmark = pytest.mark.browser

SCHEMES = ("light", "dark")
WIDTHS = (1280, 400)
REPORTS = {
    "mixed": samples.mixed_report, "healthy": samples.healthy_report, "empty": samples.empty_report,
    "unfinished": samples.unfinished_report, "hostile": samples.hostile_report, "large": lambda: samples.large_report(300),
}


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if program is None:
        pytest.fail("no chromium on this machine: install it, or deselect these tests with -m 'not browser'")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    return {name: write_page(make(), folder / f"{name}.html") for name, make in REPORTS.items()}


@pytest.fixture
def visit(browser, pages):
    """Opens a report's page; the context's requests are recorded, and scripts could run if the page let any in."""
    contexts = []

    def open_page(name, width=1280, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
        contexts.append(context)
        page = context.new_page()
        page.requests = []
        page.on("request", lambda request: page.requests.append(request.url))
        page.on("dialog", lambda dialog: page.requests.append(f"dialog {dialog.message}"))
        page.goto(pages[name].as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("name", REPORTS)
def test_nothing_runs_nothing_is_fetched_and_nothing_scrolls_sideways(visit, pages, name):
    page = visit(name)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.requests == [pages[name].as_uri()]
    assert page.evaluate("window.pwned") is None
    assert page.locator("script, img, iframe, object, link").count() == 0


def test_hostile_names_are_read_as_they_are(visit):
    text = visit("hostile").inner_text("body")
    for words in ("<script>window.pwned = 1</script>", "nul\\x00byte", "two\\nlines", "\\u202egnirts desrever\\u202c",
                  "[/bold][red]markup[/red]", "]]><!-- --><x>&amp;", "{{ 7*7 }}", "</style><style>body{display:none}"):
        assert words in text


@pytest.mark.parametrize(("name", "width", "scheme"), [
    ("mixed", 1280, "light"), ("mixed", 400, "dark"), ("unfinished", 1280, "dark"), ("unfinished", 400, "light"), ("empty", 400, "light"),
])
def test_everyone_can_read_it(visit, name, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    results = Axe().run(visit(name, width, scheme))
    assert results.violations_count == 0, results.generate_report()


def test_the_schemes_differ_and_charts_follow_them(visit):
    def colours(scheme):
        return visit("mixed", scheme=scheme).evaluate("""() => [
            getComputedStyle(document.body).backgroundColor,
            getComputedStyle(document.querySelector('svg.chart text')).fill,
            getComputedStyle(document.querySelector('svg.gauge .value')).fill]""")

    assert all(light != dark for light, dark in zip(*map(colours, SCHEMES), strict=True))


@pytest.mark.parametrize("width", WIDTHS)
def test_the_verdict_is_above_the_fold(visit, width):
    box = visit("mixed", width).locator("h1").bounding_box()
    assert box["y"] + box["height"] < 400


def test_pictures_have_names_and_room(visit):
    page = visit("mixed", 400)
    charts = page.locator("svg.chart")
    assert charts.count() == 4
    for index in range(charts.count()):
        box = charts.nth(index).bounding_box()
        assert box["width"] > 250
        assert box["height"] > 120
    assert page.get_by_role("img", name="Signal and gradient, layer by layer").count() == 2


def test_print_shows_what_is_folded(browser, pages):
    page = browser.new_page(color_scheme="dark")
    page.goto(pages["mixed"].as_uri())
    folded = page.get_by_text("parameters missing or held twice")
    assert not folded.is_visible()
    page.emulate_media(media="print")
    assert folded.is_visible()
    assert len(page.pdf()) > 10_000
    page.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_screenshot_is_not_blank(visit, scheme):
    from PIL import Image

    image = Image.open(io.BytesIO(visit("mixed", scheme=scheme).screenshot()))
    assert image.width == 1280
    assert len(image.convert("RGB").getcolors(maxcolors=image.width * image.height)) > 100


def test_the_notebook_fragment_leaves_its_surroundings_alone(browser):
    page = browser.new_page()
    page.set_content(f"<p id='before'>text</p>{summary_fragment(samples.hostile_report())}<p id='after'>text</p>")
    style = "id => { const s = getComputedStyle(document.getElementById(id)); return [s.display, s.fontFamily, s.color] }"
    assert page.evaluate(style, "before") == page.evaluate(style, "after")
    assert page.evaluate(style, "after")[0] == "block"
    assert page.evaluate("window.pwned") is None
    page.close()
