"""Tables and the document they go to."""

from tests.perf import report
from tests.perf.figures import Figure, Result, at_most


def a_result(value, name="rtsp-udp"):
    figures = (
        Figure("CPU", "heliograph", value, "µs", "gstreamer", value / 1000, at_most(0.5)),
        Figure("CPU", "gstreamer", 1000.0, "µs"),
    )
    return Result(name, "A title", figures, ("A note.",))


def test_numbers_have_three_digits():
    numbers = [None, 0, 0.12345, 12.345, 400.0, 1234567.8]
    assert [report.number(n) for n in numbers] == ["–", "0", "0.123", "12.3", "400", "1 234 568"]


def test_plain_table_is_aligned():
    lines = report.plain(a_result(300.0)).splitlines()
    assert lines[1] == "rtsp-udp: A title"
    assert (
        len(
            {
                line.index("heliograph" if "heliograph" in line else "gstreamer")
                for line in lines[3:5]
            }
        )
        == 1
    )
    assert "0.3 of gstreamer" in lines[3]
    assert lines[3].endswith("met")


def test_a_new_document_has_method_section_and_history():
    text = report.update("", a_result(300.0), "2026-01-02", "abc", "a machine")
    assert text.startswith("# Performance")
    assert text.count("## rtsp-udp") == 1
    assert text.index("## rtsp-udp") < text.index("## History")
    assert "| 2026-01-02 | abc | rtsp-udp | CPU: 0.3 of gstreamer | 1 met, 0 missed |" in text


def test_measuring_again_replaces_the_section_and_appends_to_the_history():
    text = report.update("", a_result(300.0), "2026-01-02", "abc", "a machine")
    text = report.update(text, a_result(100.0, "delay"), "2026-01-02", "abc", "a machine")
    text = report.update(text, a_result(700.0), "2026-01-03", "def", "a machine")
    assert text.count("## rtsp-udp\n") == text.count("## delay\n") == 1
    assert "| 300 µs |" not in text
    assert text.index("| 2026-01-02 | abc |") < text.index("| 2026-01-03 | def |")
    assert "0 met, 1 missed" in text


def test_words_around_the_sections_are_kept():
    text = report.update("", a_result(300.0), "2026-01-02", "abc", "m")
    text = text.replace("## Method", "## How it is done")
    assert "## How it is done" in report.update(text, a_result(1.0), "2026-01-03", "d", "m")
