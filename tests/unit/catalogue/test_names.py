"""Names and lines: plain text without tricks."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.catalogue.names import clean_line, clean_name, likeness
from heliograph.model.errors import MalformedError, PeerError, TooLargeError


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("Anna", "Anna"),
        ("  Anna   Ö  ", "Anna Ö"),
        ("O\u0308zlem", "Özlem"),
        ("ﬁne", "fine"),
        ("Nguyễn Thị Ánh", "Nguyễn Thị Ánh"),
        ("山田 太郎", "山田 太郎"),
        ("مريم", "مريم"),
        ("<b>Anna</b>", "<b>Anna</b>"),
        ("🎥 Anna", "🎥 Anna"),
    ],
)
def test_names_people_have(name: str, clean: str) -> None:
    assert clean_name(name) == clean


@pytest.mark.parametrize(
    "name",
    [
        "",
        "   ",
        "\u200b",
        "\u3164",
        "a\u202eb",
        "a\u2066b",
        "a\0b",
        "a\x1b[31m",
        "a\u200db",
        "\ufeffa",
        "\ud800",
        "e\u0301\u0302\u0303\u0304\u0305",
        "\u0301",
        "\U000e0041",
    ],
)
def test_names_with_tricks_are_refused(name: str) -> None:
    with pytest.raises(MalformedError):
        clean_name(name)


def test_names_are_bounded() -> None:
    assert clean_name("x" * 32)
    for name in ("x" * 33, "x" * 10_000, "ﷺ" * 20):
        with pytest.raises(TooLargeError):
            clean_name(name)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (" one\r\ntwo\tthree ", "one two three"),
        ("a\u202eb\0c", "abc"),
        ("👩\u200d👩\u200d👧", "👩\u200d👩\u200d👧"),
        ("\u200d \u200b", ""),
        ("", ""),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("Z" + "\u0301" * 50, "Ź\u0301\u0301\u0301"),
        ("a\u2028b", "a b"),
        ("new \U0001fae9", "new \U0001fae9"),  # an emoji younger than Python 3.11
        ("a\ufdd0\U0001fffe\U000e0fffb", "ab"),
    ],
)
def test_lines_are_kept_plain(text: str, line: str) -> None:
    assert clean_line(text, limit=100) == line


@given(st.text(max_size=400))
def test_cleaning_any_text_gives_clean_text_or_an_error(text: str) -> None:
    try:
        line = clean_line(text, limit=80)
    except PeerError:
        return
    assert len(line) <= 80
    assert line == unicodedata.normalize("NFC", line)
    assert not any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") for char in line)
    assert clean_line(line, limit=80) == line


@given(st.text(max_size=40))
def test_cleaning_a_name_twice_is_once(name: str) -> None:
    try:
        clean = clean_name(name)
    except PeerError:
        return
    assert clean_name(clean) == clean
    assert 0 < len(clean) <= 32


@pytest.mark.parametrize("other", ["anna", "ANNA", "Ànna", "A n n a", "Аnnа", "ａｎｎａ"])
def test_names_that_look_alike(other: str) -> None:
    assert likeness(other) == likeness("Anna")


@pytest.mark.parametrize("other", ["Anne", "Hanna", "山田"])
def test_names_that_do_not(other: str) -> None:
    assert likeness(other) != likeness("Anna")
