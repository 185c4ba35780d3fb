from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from semantic_ranker.errors import InvalidInputError, StorageError
from semantic_ranker.reports import Page, plots
from semantic_ranker.reports.page import format_cell

CANARY = "<script>window.pwned=1</script>\"'><img src=x onerror=pwned()>&amp;"


class Seen(HTMLParser):
    """Collects elements, attributes and text as a browser would see them."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.extend((tag, name, value) for name, value in attrs)

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return "".join(self.words)


def full_page(text):
    return (
        Page(text, text)
        .section(text)
        .text(text)
        .facts({text: text})
        .table([text, "n"], [[text, 1], [None, 2.5]], text)
        .details(text, [text], [[text]])
        .plot(plots.bars_with_intervals({text: (0.1, 0.0, 0.2)}, xlabel=text), text, text)
    )


def test_no_text_becomes_markup_wherever_it_stands():
    seen = Seen(full_page(CANARY).render())
    assert not {"script", "img", "iframe", "object", "a:href"} & set(seen.tags)
    assert not [found for found in seen.attributes if found[1].startswith("on") or "javascript:" in str(found[2])]
    assert seen.text.count("<script>window.pwned=1</script>") >= 10
    assert ("svg", "aria-label", CANARY) in seen.attributes


def test_a_page_needs_nothing_but_itself():
    html = full_page("name").render()
    seen = Seen(html)
    assert "default-src 'none'" in html
    assert not [value for _, name, value in seen.attributes if name in ("src", "srcset", "action")]
    assert all(value.startswith("#") for _, name, value in seen.attributes if name in ("href", "xlink:href"))
    assert "prefers-color-scheme: dark" in html
    assert html.lower().startswith("<!doctype html>")


def test_ids_are_unique_and_every_reference_finds_its_own():
    page = Page("two plots")
    for _ in range(2):
        page.plot(plots.lines({"a": ([0, 1], [0, 1])}, xlabel="x", ylabel="y"), "caption", "alt")
    html = page.render()
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    referred = set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', html))
    assert {one or other for one, other in referred} <= set(ids)
    assert referred


def test_plots_take_the_colours_of_the_theme():
    html = full_page("name").render()
    svg = html[html.index("<svg") : html.index("</svg>")]
    assert "var(--ink)" in svg
    assert "var(--s1)" in svg
    assert not re.search(r"#[0-9a-f]{6}", svg)


def test_three_sections_make_a_table_of_contents_and_two_do_not():
    page = Page("title").section("one").section("two")
    assert "nav" not in Seen(page.render()).tags
    seen = Seen(page.section("three").render())
    targets = [value[1:] for tag, name, value in seen.attributes if (tag, name) == ("a", "href")]
    assert len(targets) == 3
    assert {("h2", "id", target) for target in targets} <= set(seen.attributes)


def test_columns_of_numbers_are_aligned_right():
    html = Page("t").table(["name", "value", "share"], [["a", 1.0, "50.0%"], ["b", None, "<.1"]]).render()
    assert '<th scope="col" class="n">value</th>' in html
    assert '<th scope="col">name</th>' in html
    assert '<th scope="col" class="n">share</th>' in html
    interval = Page("t").table(["name", "value"], [["mean", 0.4], ["interval", "0.3000 to 0.4484"]]).render()
    assert '<th scope="col" class="n">value</th>' in interval


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.41366, "0.4137"),
        (100_000, "100,000"),
        (123456.7, "123,456.7"),
        (0.00001, "1.0e-05"),
        (0.0, "0.0000"),
        (None, "\N{EN DASH}"),
        (float("nan"), "\N{EN DASH}"),
        (True, "yes"),
        ("as it is", "as it is"),
    ],
)
def test_cells_are_shown_as_people_write_them(value, shown):
    assert format_cell(value) == shown


def test_long_and_unshowable_text_stays_on_the_page():
    html = Page("t").table(["a"], [["x" * 10_000_000], ["\x00\x1b[31m\ud800"]]).render()
    assert len(html) < 20_000
    assert "\x1b" not in html
    assert "�[31m" in html
    html.encode()


def test_a_row_that_does_not_fit_is_refused():
    with pytest.raises(InvalidInputError, match="2 cells in row 1") as caught:
        Page("t").table(["a", "b"], [[1, 2], [1]])
    assert caught.value.index == 1


def test_a_page_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "page.html"
    page = Page("first")
    page.write(path)
    assert path.read_text("utf-8") == page.render()
    with pytest.raises(InvalidInputError):
        Page("second").plot(plots.lines({}, xlabel="x", ylabel="y"), "c", "a").write(path)
    assert "first" in path.read_text("utf-8")
    with pytest.raises(StorageError):
        page.write(tmp_path)
