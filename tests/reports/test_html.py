"""The page as text: it says what the other formats say, escapes what it is told, and shows only what it may."""

import base64
import hashlib
import io
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from PIL import Image

from runner.images import Stamp, stamped, write_atomically
from runner.ledger.usage import Spent, UsageRow
from runner.ledger.values import Result
from runner.providers.provider import Evidence
from runner.reports.html import budgets
from runner.reports.html.charts import Amounts, Column, bar, columns
from runner.reports.html.markup import element
from runner.reports.html.overview import LISTED_MAX, Overview
from runner.reports.html.spending import amounts
from runner.reports.report import Sums
from tests.images.samples import saved, scene
from tests.reports.conftest import MONTH, POSTERS, SCANS, TOTAL, Books
from tests.reports.pages import Page, money
from tests.reports.test_report import row

AT = datetime(2026, 11, 12, 10, tzinfo=UTC)


def page_of(books: Books, *words: str) -> Page:
    file = books.root / "report.html"
    assert books.omixa("report", "--out", str(file), *words) == 0
    return Page(file.read_text(encoding="utf-8"))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def bought(books: Books, name: str, *, billed: int = 39_000, text: str | None = None, **changes: object) -> int:
    """An attempt with real files: the source and what came, where the ledger says they are."""
    source = saved(books.root / f"pictures/{name}.png", scene())
    output = saved(books.root / f"out/{name}.png", scene(384, 288))
    told = {"source_digest": digest(source), "source_bytes": source.stat().st_size, **changes}
    attempt_id = books.sent(POSTERS, name, AT, caps=(MONTH, TOTAL), **told)
    books.ledger.settle(
        attempt_id,
        billed_micros=billed,
        billed_text=text or f"0.{billed:06d}",
        code="billed",
        message=None,
        evidence=Evidence(200),
        result=Result(digest(output), output.stat().st_size, 384, 288, None, delivered=True),
        who="ana@desk",
        at=AT,
    )
    return attempt_id


# ---- sums


def test_the_table_is_that_of_the_other_formats(books: Books) -> None:
    found = page_of(books, "--by", "recipe,cost-centre").reports()
    assert list(found) == ["EUR", "USD"]
    usd = found["USD"]
    assert usd.head[:2] == ["recipe", "cost-centre"]
    assert usd.body == [
        *[["posters", "4711", "4", "2", "0", "2", "0", "0.080000", "1.400000", "0.000000", "0.040000"]],
        *[["scans", "–", "2", "0", "1", "1", "1", "0.000000", "0.700000", "0.700000", "–"]],
    ]
    assert usd.foot == [["total", "", "6", "2", "1", "3", "1", "0.080000", "2.100000", "0.700000", "0.040000"]]


def test_the_page_says_first_what_the_days_cost_and_what_may_be_added(books: Books) -> None:
    text = page_of(books).text
    assert "These days cost at least 0.080000 and at most 2.180000 USD: what is open has no bill yet." in text
    assert "of which unknown0.700000 USDno answer came" in text
    assert text.index("0.080000 USD") < text.rindex("Spend per day")


def test_the_window_before_and_the_dearest_are_as_in_text(books: Books) -> None:
    page = page_of(books, "--month", "2026-11", "--compare", "--top", "1", "--workspace", "studio")
    usd = page.reports()["USD"]
    assert usd.column("recipe") == ["posters", "1 other"]
    assert usd.column("settled 2026-10 USD") == ["0.039000", "0.000000"]
    assert usd.column("change USD") == ["+0.002000", "0.000000"]
    assert usd.total("change USD") == "+0.002000"
    assert "against 2026-10+0.002000 USDthen 0.039000" in page.text


def test_recipes_cost_centres_and_days_add_up_to_the_total(books: Books) -> None:
    page = page_of(books)
    for caption in ("Spend by recipe, in USD", "Spend by cost centre, in USD", "Workspace studio, day by day"):
        (table,) = (one for one in page.tables if one.caption == caption)
        settled, opened = [name for name in table.head if name.startswith(("settled", "open"))]
        assert money(table.column(settled)) == Decimal("0.080000"), caption
        assert money(table.column(opened)) == Decimal("2.100000"), caption


def test_more_recipes_than_fit_are_one_bar_and_nothing_is_lost(empty_books: Books) -> None:
    for number in range(15):
        run = replace(POSTERS, uid=f"run-{number}", recipe=f"recipe-{number:02d}")
        empty_books.settled(run, f"p{number}", AT, 1_000 + number)
    page = page_of(empty_books)
    (table,) = (one for one in page.tables if one.caption == "Spend by recipe, in USD")
    assert table.body[-1][0] == "4 others"
    assert len(table.body) == 12
    assert money(table.column("settled")) == Decimal("0.015105")


def test_waste_has_columns_of_its_own_where_there_is_some(empty_books: Books) -> None:
    empty_books.settled(POSTERS, "a", AT, 39_000)
    assert "bought again USD" not in page_of(empty_books).reports()["USD"].head
    empty_books.settled(POSTERS, "a", AT, 41_000, again=True)
    page = page_of(empty_books)
    assert page.reports()["USD"].total("bought again USD") == "0.041000"
    assert "paid for nothing0.041000 USDno usable picture 0, bought again 1" in page.text


def test_of_many_requests_that_need_somebody_the_first_are_listed() -> None:
    overview = Overview()
    rows = [row(number, "settled", 39_000, has_picture=False) for number in range(LISTED_MAX + 5)]
    rows += [row(99, "settled", 1, again=True), row(100, "unknown", 700_000)]
    assert list(overview.watch(rows)) == rows
    assert (len(overview.unusable), len(overview.again), len(overview.unknown)) == (LISTED_MAX, 1, 1)


def test_requests_that_need_somebody_are_listed_by_number(books: Books) -> None:
    page = page_of(books)
    (table,) = (one for one in page.tables if "never came" in one.caption)
    assert [(line[0], line[3], line[5], line[6], line[7]) for line in table.body] == [
        ("3", "scans", "0.700000", "USD", "read-timeout"),
        ("8", "logos", "0.700000", "EUR", "read-timeout"),
    ]


@pytest.mark.parametrize("words", [[], ["--month", "2025-01"], ["--from", "2026-11-05", "--to", "2026-11-05"]])
def test_a_page_without_attempts_says_so(empty_books: Books, words: list[str]) -> None:
    page = page_of(empty_books, *words)
    assert "there are no attempts" in page.text
    assert page.reports() == {}


def test_a_page_of_one_day_has_its_one_column(books: Books) -> None:
    page = page_of(books, "--from", "2026-11-02", "--to", "2026-11-02")
    assert page.reports()["USD"].total("open USD") == "0.700000"
    assert "Added up" not in page.text
    assert "2 Nov" in page.text


# ---- charts


def parts_of(drawn: str) -> list[tuple[str, str, str]]:
    found = re.findall(r'<rect class="(settled|open|unknown)" x="([\d.]+)%" y="[\d.]+%?" width="([\d.]+)%"', drawn)
    return [(kind, x, width) for kind, x, width in found]


def test_a_bar_has_the_shares_of_its_parts() -> None:
    drawn = parts_of(bar(Amounts(settled=10**15, open=10**15, unknown=2 * 10**15), 8 * 10**15))
    assert drawn == [("settled", "0.00", "12.50"), ("open", "12.50", "12.50"), ("unknown", "25.00", "25.00")]


def test_what_is_unknown_is_drawn_once() -> None:
    drawn = amounts(Sums(settled_micros=5, open_micros=4, unknown_micros=1))
    assert (drawn.settled, drawn.open, drawn.unknown, drawn.total) == (5, 3, 1, 9)


def test_next_to_nothing_is_still_seen_and_never_more_than_all() -> None:
    assert parts_of(bar(Amounts(settled=1), 10**12)) == [("settled", "0.00", "0.40")]
    drawn = parts_of(bar(Amounts(settled=10**12, open=1), 10**12 + 1))
    assert sum(Decimal(width) for _, _, width in drawn) <= 100


def heights(drawn: str) -> list[Decimal]:
    found = re.findall(r'<rect class="(?:settled|open|unknown)".*? height="([\d.]+)"', drawn)
    return [Decimal(height) for height in found]


def test_columns_are_as_high_as_what_they_stand_for() -> None:
    drawn = columns([Column("a", Amounts(2_000_000), "a"), Column("b", Amounts(1_000_000, 500_000), "b")], says="s")
    assert heights(drawn) == [Decimal("150.00"), Decimal("75.00"), Decimal("37.50")]
    assert 'aria-label="s"' in drawn


def test_a_cap_is_a_line_where_it_fits_and_always_where_sums_go_on() -> None:
    shown = [Column("a", Amounts(1_000_000), "a", 2_000_000), Column("b", None, "b", 2_000_000)]
    assert re.findall(r'class="cap" x1="([\d.]+%)" y1="([\d.]+)"', columns(shown, says="")) == [("35.71%", "16.00")]
    far = [replace(one, cap_micros=90_000_000) for one in shown]
    assert 'class="cap"' not in columns(far, says="")
    assert "cap 90.000" in columns(far, says="", joined_up=True)


def test_what_is_added_up_starts_anew_with_each_month_and_ends_today(
    empty_books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795219200")  # 21 November 2026
    for name, day in (("a", 3), ("b", 20)):
        empty_books.settled(POSTERS, name, datetime(2026, 10, day, 9, tzinfo=UTC), 500_000, caps=(MONTH,))
    empty_books.settled(POSTERS, "c", datetime(2026, 11, 2, 9, tzinfo=UTC), 250_000, caps=(MONTH,))
    file = empty_books.root / "report.html"
    page = page_of(empty_books)
    tips = re.findall(r"<title>until (\S+): settled ([\d.]+) USD</title>", file.read_text())
    assert "Added up, against the cap of the month" in page.text
    assert dict(tips)["2026-10-31"] == "1.000000"
    assert dict(tips)["2026-11-02"] == "0.250000"
    assert max(dict(tips)) == "2026-11-21"
    assert "2026-11-01" not in dict(tips)


def test_a_gauge_says_what_is_left_of_the_newest_window() -> None:
    old = Spent("studio", "USD", None, "month", "2026-10", 5_000_000, 39_000, 0)
    new = Spent("studio", "USD", None, "month", "2026-11", 5_000_000, 1_000_000, 4_500_000)
    page = Page(str(budgets.gauges([new, old])))
    assert "month 2026-11 of workspace studioover its cap by 0.500000 USD" in page.text
    assert "settled 1.000000 + open 4.500000 of 5.000000: 110 % used" in page.text
    (before,) = page.tables
    assert before.body == [
        ["month 2026-10 of workspace studio", "5.000000", "0.039000", "0.000000", "4.961000", "less than 1 % used"]
    ]
    assert budgets.gauges([]) is None


# ---- nothing but what it is


HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>\x1b]0;x\x07\u202e"


def hostile_rows(books: Books) -> None:
    bad = replace(POSTERS, recipe=HOSTILE, cost_centre=HOSTILE, uid="bad", labels={"client": HOSTILE})
    books.unknown(bad, "x", AT, source_path=HOSTILE, output_path=HOSTILE, prompt_name=HOSTILE, preset_name=HOSTILE)
    bought(books, "y", source_path=HOSTILE, prompt_name=HOSTILE, preset_name=HOSTILE, output_path=f"out/{HOSTILE}")


def test_no_name_becomes_markup(empty_books: Books) -> None:
    hostile_rows(empty_books)
    page = page_of(empty_books, "--by", "recipe,source,prompt,preset,label:client")
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert {tag for tag, told in page.elements for name in told if name.startswith("on")} == set()
    assert "alert(1)" in page.text
    assert not set((empty_books.root / "report.html").read_text()) & {"\x1b", "\x07", "\u202e"}


def test_what_looks_like_a_key_is_starred_out(empty_books: Books) -> None:
    empty_books.settled(replace(POSTERS, recipe="omx_live_abcdefgh1234"), "a", AT, 1)
    assert "abcdefgh1234" not in (page_of(empty_books).text)


def test_attributes_are_escaped_like_text() -> None:
    assert element("p", "<b>&", title='"><x>') == '<p title="&quot;&gt;&lt;x&gt;">&lt;b&gt;&amp;</p>'


def test_the_policy_allows_this_style_and_this_script_and_nothing_else(books: Books) -> None:
    bought(books, "p")
    page = page_of(books)
    (policy,) = (
        told["content"]
        for tag, told in page.elements
        if tag == "meta" and told.get("http-equiv") == "Content-Security-Policy"
    )
    digests = {
        kind: f"'sha256-{base64.b64encode(hashlib.sha256(page.inside[kind].encode()).digest()).decode()}'"
        for kind in ("style", "script")
    }
    assert policy == (
        f"default-src 'none'; img-src data:; style-src {digests['style']}; script-src {digests['script']}; "
        "base-uri 'none'; form-action 'none'"
    )
    assert not [told for _, told in page.elements if "style" in told]


def test_every_address_is_within_the_page(books: Books) -> None:
    bought(books, "p")
    page = page_of(books)
    addresses = [
        told[name] or ""
        for _, told in page.elements
        for name in ("src", "href", "srcset", "action", "data", "poster", "xlink:href")
        if name in told
    ]
    assert len(addresses) == 3
    assert {address.partition(",")[0] for address in addresses} == {"data:", "data:image/webp;base64"}
    assert re.findall(r"url\(([^)]*)\)", page.inside["style"]) == ["#pattern-open", "#pattern-unknown"]
    assert "@import" not in page.inside["style"]
    identifiers = [told["id"] for _, told in page.elements if "id" in told]
    assert identifiers == ["pattern-open", "pattern-unknown"]


# ---- pictures


def shown(page: Page) -> list[str]:
    return page.attributes("img", "alt")


def test_a_picture_stands_beside_its_source_with_its_price(empty_books: Books) -> None:
    attempt_id = bought(empty_books, "p", billed=41_000)
    bought(empty_books, "q", billed=39_001, text="0.0390001")
    page = page_of(empty_books)
    assert shown(page) == ["before: pictures/q.png", "after: out/q.png", "before: pictures/p.png", "after: out/p.png"]
    assert f"0.041000 USDposters · restore · photoattempt {attempt_id} · 2026-11-12 · 384 × 288" in page.text
    assert "· received as 0.0390001" in page.text
    assert "received as 0.041" not in page.text
    assert "These are all 2 pictures" in page.text
    for address in page.attributes("img", "src"):
        picture = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
        assert max(picture.size) <= 320


def test_a_file_that_changed_or_is_gone_is_not_shown_and_that_is_said(empty_books: Books) -> None:
    for name in ("a", "b", "c", "d"):
        bought(empty_books, name)
    for same_size in (empty_books.root / "pictures/d.png", empty_books.root / "out/d.png"):
        same_size.write_bytes(same_size.read_bytes()[:-1] + b"x")
    saved(empty_books.root / "pictures/a.png", scene(97))
    (empty_books.root / "pictures/b.png").unlink()
    saved(empty_books.root / "out/b.png", scene(99))
    (empty_books.root / "out/c.png").unlink()
    page = page_of(empty_books)
    assert shown(page) == ["before: pictures/c.png", "after: out/a.png"]
    for said in ("the picture is gone", "the source is gone", "the picture has changed", "the source has changed"):
        assert said in page.text


def test_a_copy_that_cannot_be_looked_at_is_not_shown_and_that_is_said(empty_books: Books) -> None:
    bought(empty_books, "a")
    (empty_books.root / "out/a.png").unlink()
    kept = empty_books.root / ".omixa/results"
    if kept.is_dir():
        shutil.rmtree(kept)
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("a file is in the way")
    assert "the picture is gone; the copy cannot be read" in page_of(empty_books).text


def test_a_picture_that_was_drawn_from_words_has_no_before(empty_books: Books) -> None:
    bought(empty_books, "p", source_path="", source_digest="", source_bytes=0)
    page = page_of(empty_books)
    assert shown(page) == ["after: out/p.png"]
    assert "drawn from words: there is no source" in page.text
    assert "→ out/p.png" not in page.text


def test_a_picture_with_a_stamp_is_still_the_one_that_came(empty_books: Books) -> None:
    bought(empty_books, "p")
    output = empty_books.root / "out/p.png"
    stamp = Stamp("ab" * 16, "1", "cd" * 16, "posters", "m", "seed=7", "ab" * 32, "2026")
    edits = stamped(output, stamp)
    assert not isinstance(edits, str)
    write_atomically(output, output, edits=edits)
    page = page_of(empty_books)
    assert shown(page) == ["before: pictures/p.png", "after: out/p.png"]
    assert "has changed" not in page.text


def test_the_same_pictures_give_the_same_bytes_again(empty_books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1796083200")
    bought(empty_books, "p")
    made = []
    for _ in range(2):
        assert len(shown(page_of(empty_books))) == 2
        made.append((empty_books.root / "report.html").read_bytes())
    assert made[0] == made[1]


def test_a_kept_copy_stands_in_for_what_is_not_at_its_place(empty_books: Books) -> None:
    bought(empty_books, "p")
    output = empty_books.root / "out/p.png"
    kept = empty_books.root / ".omixa/results" / digest(output)[:2] / f"{digest(output)}.png"
    kept.parent.mkdir(parents=True)
    shutil.copy(output, kept)
    saved(output, scene(500))
    page = page_of(empty_books)
    assert shown(page) == ["before: pictures/p.png", "after: out/p.png"]
    assert "the picture has changed since; this is the copy that was kept" in page.text
    kept.write_bytes(b"something else")
    assert shown(page_of(empty_books)) == ["before: pictures/p.png"]


def test_nothing_outside_of_the_project_is_looked_at(
    empty_books: Books, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = saved(tmp_path_factory.mktemp("outside") / "x.png", scene())
    (empty_books.root / "link").symlink_to(outside.parent)
    ways = [str(outside), f"../{outside.parent.name}/x.png", "link/x.png", "a\0b.png", "x" * 5000]
    for number, way in enumerate(ways):
        bought(
            empty_books,
            f"p{number}",
            source_path=way,
            source_digest=digest(outside),
            source_bytes=outside.stat().st_size,
        )
    page = page_of(empty_books)
    assert shown(page) == [f"after: out/p{number}.png" for number in reversed(range(len(ways)))]
    assert page.text.count("the source lies outside the project") >= 3


def test_the_gallery_has_the_newest_and_says_how_many_there_are(empty_books: Books) -> None:
    for name in "abc":
        bought(empty_books, name)
    page = page_of(empty_books, "--gallery", "2")
    assert shown(page)[1::2] == ["after: out/c.png", "after: out/b.png"]
    assert "These are the newest 2 of 3 pictures, the newest first. omixa report --gallery 3 shows more." in page.text
    assert "Before and after" not in page_of(empty_books, "--gallery", "0").text
    assert shown(page_of(empty_books, "--from", "2026-11-13")) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--gallery", "-1"], "`--gallery` is how many pictures to show, 0 to 10000; found -1"),
        (["--gallery", "10001"], "found 10001"),
        (["--gallery", "5", "--format", "csv"], "`--gallery` goes with `--format html` only; this is `csv`"),
    ],
)
def test_a_gallery_that_cannot_be_is_refused(
    books: Books, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    file = books.root / "report.html"
    assert books.omixa("report", "--out", str(file), *words) == 2
    assert said in capsys.readouterr().err
    assert not file.exists()


def test_odd_and_missing_facts_are_shown_as_they_are(empty_books: Books) -> None:
    rows: list[UsageRow] = [row(1, "settled", 0, cost_centre=None)]
    overview = Overview()
    list(overview.watch(rows))
    assert list(overview.by_cost_centre("USD")) == [None]
    empty_books.settled(replace(SCANS, cost_centre=None), "a", AT, 39_000)
    assert "no cost centre" in page_of(empty_books).text
