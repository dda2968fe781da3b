"""The page in a real browser: charts, sorting, slider, paper, dark mode, a telephone, and no request to anywhere."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page

from tests.reports.browser import browser, opened
from tests.reports.conftest import MONTH, POSTERS, SCANS, TOTAL, Books
from tests.reports.test_html import AT, bought, hostile_rows


@pytest.fixture(scope="module")
def started() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture
def file(empty_books: Books) -> Path:
    """A page with three pictures, all states, two currencies, and amounts that text would sort wrongly."""
    empty_books.fill()
    for name in "pqr":
        bought(empty_books, name)
    for recipe, micros in (("nine", 90_000), ("ten", 100_000), ("least", 9)):
        run = replace(POSTERS, uid=f"run-{recipe}", recipe=recipe, cost_centre=None if recipe == "nine" else "4711")
        empty_books.settled(run, recipe, AT, micros, caps=(MONTH, TOTAL))
    return made(empty_books, "--by", "recipe,cost-centre", "--month", "2026-11")


def made(books: Books, *words: str) -> Path:
    found = books.root / "report.html"
    assert books.omixa("report", "--out", str(found), *words) == 0
    return found


def box(one: Locator) -> dict[str, float]:
    found = one.bounding_box()
    assert found is not None
    return dict(found)


def boxes(one: Locator, *selectors: str) -> list[dict[str, float]]:
    """Where parts of an element are, all at one instant: between two questions a page that still loads may move."""
    question = """(element, selectors) => selectors.map(selector => {
        const {x, y, width, height} = element.querySelector(selector).getBoundingClientRect();
        return {x, y, width, height};
    })"""
    found = one.evaluate(question, list(selectors))
    assert isinstance(found, list)
    return found


def style(one: Locator, name: str) -> str:
    found = one.evaluate("(element, name) => getComputedStyle(element).getPropertyValue(name)", name)
    assert isinstance(found, str)
    return found


# ---- charts


def test_charts_are_drawn_and_told_apart_without_colour(started: Browser, file: Path) -> None:
    with opened(started, file) as page:
        plot = page.locator("section.currency", has_text="USD").locator("svg.plot").first
        frame = box(plot)
        for kind, fill in (
            ("settled", "rgb("),
            ("open", 'url("#pattern-open")'),
            ("unknown", 'url("#pattern-unknown")'),
        ):
            part = plot.locator(f"rect.{kind}").first
            assert style(part, "fill").startswith(fill)
            drawn = box(part)
            assert drawn["width"] > 5
            assert drawn["height"] > 1
            assert frame["y"] <= drawn["y"] <= drawn["y"] + drawn["height"] <= frame["y"] + frame["height"]
        assert plot.get_attribute("role") == "img"
        assert "2026-11-08: settled 0.000000, open 1.400000 USD" in (plot.get_attribute("aria-label") or "")
        cap = page.locator("svg.plot.joined line.cap")
        assert cap.count() == 1
        assert "7" in style(cap, "stroke-dasharray")
        assert page.locator(".gauges li", has_text="month 2026-11 of workspace studio").count() == 1


def test_the_numbers_stand_behind_the_chart(started: Browser, file: Path) -> None:
    with opened(started, file) as page:
        numbers = page.locator("figure", has_text="Workspace studio").locator("details").first
        assert not numbers.locator("table").is_visible()
        numbers.locator("summary").click()
        assert numbers.locator("table").is_visible()
        assert "2026-11-08" in numbers.inner_text()


# ---- the table


def column(page: Page, name: str) -> list[str]:
    table = page.locator("table.report[data-currency=USD]")
    at = [head.strip() for head in table.locator("thead th").all_inner_texts()].index(name)
    return [row.locator("th, td").nth(at).inner_text() for row in table.locator("tbody tr").all()]


def test_a_click_sorts_by_the_number_and_a_second_one_turns_it_round(started: Browser, file: Path) -> None:
    with opened(started, file) as page:
        head = page.locator("table.report[data-currency=USD] thead th", has_text="settled USD")
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == "descending"
        found = [Decimal(cell) for cell in column(page, "settled USD")]
        assert found == sorted(found, reverse=True)
        assert column(page, "recipe")[:3] == ["posters", "ten", "nine"]
        head.locator("button").focus()
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "ascending"
        assert [Decimal(cell) for cell in column(page, "settled USD")] == found[::-1]
        assert page.locator("table.report [aria-sort=ascending]").count() == 1
        assert page.locator("table.report[data-currency=USD] tfoot tr").inner_text().startswith("total")


def test_what_has_no_value_comes_last_whichever_way(started: Browser, file: Path) -> None:
    with opened(started, file) as page:
        button = page.locator("table.report[data-currency=USD] thead th", has_text="cost-centre").locator("button")
        for _ in range(2):
            button.click()
            assert column(page, "cost-centre")[-2:] == ["–", "–"]
        assert column(page, "recipe") != sorted(column(page, "recipe"))
        page.locator("table.report[data-currency=USD] thead th", has_text="recipe").locator("button").click()
        assert column(page, "recipe") == sorted(column(page, "recipe"))


def test_amounts_beyond_what_a_float_can_hold_are_sorted_exactly(started: Browser, empty_books: Books) -> None:
    for name, micros in (("a", 9_007_199_254_740_992), ("b", 9_007_199_254_740_994), ("c", 9_007_199_254_740_993)):
        run = replace(POSTERS, uid=name, workspace=name, recipe=name)
        empty_books.settled(run, name, AT, micros)
    with opened(started, made(empty_books)) as page:
        page.locator("table.report thead th", has_text="settled USD").locator("button").click()
        assert column(page, "recipe") == ["b", "c", "a"]


# ---- pictures


def seen(pair: Locator) -> str:
    return style(pair.locator(".after"), "clip-path")


def test_the_slider_obeys_keys_and_mouse(started: Browser, file: Path) -> None:
    with opened(started, file) as page:
        pair = page.locator(".slides").first
        slider = pair.get_by_role("slider", name="before and after: out/r.png")
        assert seen(pair) == "inset(0px 0px 0px 50%)"
        slider.focus()
        page.keyboard.press("ArrowRight")
        assert seen(pair) == "inset(0px 0px 0px 51%)"
        page.keyboard.press("Home")
        assert seen(pair) == "inset(0px 0px 0px 0%)"
        assert style(pair, "outline-style") == "solid"
        where = box(pair)
        page.mouse.click(where["x"] + where["width"] * 0.75, where["y"] + where["height"] / 2)
        assert re.fullmatch(r"inset\(0px 0px 0px 7[456]%\)", seen(pair))
        assert seen(page.locator(".slides").nth(1)) == "inset(0px 0px 0px 50%)"


def test_both_pictures_lie_exactly_over_each_other(started: Browser, file: Path) -> None:
    with opened(started, file) as page:
        pair = page.locator(".slides").first
        pair.scroll_into_view_if_needed()
        before, after = boxes(pair, ".before img", ".after img")
        assert before == after
        for side in ("before", "after"):
            assert pair.locator(f".{side} img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0


def test_without_scripts_the_table_is_there_and_both_pictures_are_seen(started: Browser, file: Path) -> None:
    with opened(started, file, java_script_enabled=False) as page:
        assert page.locator("table.report tfoot").first.is_visible()
        assert page.locator("button, input").count() == 0
        assert_side_by_side(page)


def assert_side_by_side(page: Page) -> None:
    before, after = boxes(page.locator("body"), ".pair .before img", ".pair .after img")
    assert before["x"] + before["width"] <= after["x"]
    assert before["width"] > 50
    assert before["y"] == after["y"]


def test_many_pictures_are_looked_at_only_when_they_come_into_sight(started: Browser, empty_books: Books) -> None:
    for number in range(60):
        bought(empty_books, f"p{number}")
    with opened(started, made(empty_books)) as page:
        pictures = page.locator(".pair img")
        assert pictures.count() == 120
        loaded = "images => images.filter(image => image.complete && image.naturalWidth > 0).length"
        assert pictures.evaluate_all(loaded) < 120
        pictures.last.scroll_into_view_if_needed()
        pictures.last.evaluate("image => image.decode()")
        assert pictures.last.evaluate("image => image.naturalWidth") > 0


# ---- paper, dark, small


def test_paper_has_both_pictures_no_controls_and_light_colours(started: Browser, file: Path) -> None:
    with opened(started, file, color_scheme="dark") as page:
        page.emulate_media(media="print")
        assert style(page.locator("body"), "background-color") == "rgb(255, 255, 255)"
        assert not page.locator(".pair input").first.is_visible()
        assert page.locator("th button").first.evaluate("one => getComputedStyle(one, '::after').display") == "none"
        assert {style(row, "break-inside") for row in page.locator("tr").all()} == {"avoid"}
        assert_side_by_side(page)
        paper = page.pdf(prefer_css_page_size=True)
    assert paper.startswith(b"%PDF-")
    # Six pictures, each with or without a mask of its own; those that were never in sight, too.
    assert paper.count(b"/Subtype /Image") >= 6
    assert set(re.findall(rb"/MediaBox \[([^\]]*)\]", paper)) == {b"0 0 594.95996 841.91998"}


def luminance(colour: str) -> float:
    red, green, blue = (int(part) / 255 for part in re.findall(r"\d+", colour)[:3])
    parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (red, green, blue)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one: str, other: str) -> float:
    """As WCAG 2.2 counts it: text needs 4.5, what is drawn 3."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_can_be_read_in_light_and_dark(started: Browser, file: Path, scheme: str) -> None:
    with opened(started, file, color_scheme=scheme) as page:
        ground = style(page.locator("body"), "background-color")
        assert (luminance(ground) > 0.5) == (scheme == "light")
        raised = style(page.locator(".glance div").first, "background-color")
        for place in ("body", ".note", ".zero", "thead th", ".glance .alarm b", ".glance .note", "summary"):
            for behind in (ground, raised):
                assert contrast(style(page.locator(place).first, "color"), behind) >= 4.5, place
        assert contrast(style(page.locator("rect.settled").first, "fill"), ground) >= 3
        assert contrast(style(page.locator("line.cap").first, "stroke"), ground) >= 3
        for pattern in (".open-lines", ".unknown-dots"):
            name = "stroke" if pattern == ".open-lines" else "fill"
            assert contrast(style(page.locator(pattern), name), ground) >= 3


@pytest.mark.parametrize("width", [320, 375, 768])
def test_a_small_screen_is_not_scrolled_sideways(started: Browser, empty_books: Books, width: int) -> None:
    hostile_rows(empty_books)
    empty_books.settled(replace(SCANS, recipe="x" * 300), "long", AT, 10**15)
    page_file = made(empty_books, "--by", "recipe,source,commit,who")
    with opened(started, page_file, viewport={"width": width, "height": 700}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width


# ---- hostile, empty


def test_nothing_that_the_ledger_holds_runs(started: Browser, empty_books: Books) -> None:
    hostile_rows(empty_books)
    with opened(started, made(empty_books, "--by", "recipe,source,prompt,label:client")) as page:
        assert page.locator("script").count() == 1
        assert page.locator("img[src=x]").count() == 0
        assert page.locator(".pair .after img").count() == 0
        page.locator(".exhibit").scroll_into_view_if_needed()


def test_an_empty_page_and_one_of_a_single_day_open(started: Browser, empty_books: Books) -> None:
    with opened(started, made(empty_books)) as page:
        assert "there are no attempts" in page.locator("main").inner_text()
    empty_books.settled(POSTERS, "a", datetime(2026, 11, 12, 10, tzinfo=UTC), 39_000)
    with opened(started, made(empty_books, "--from", "2026-11-12", "--to", "2026-11-12")) as page:
        assert box(page.locator("svg.plot rect.settled"))["height"] > 50
