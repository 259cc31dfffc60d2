"""Untrusted text made visible."""

from dgr.text import visible


def test_what_browsers_hide_is_spelled_out() -> None:
    assert visible("a\u202eb\x00c\ud800d") == "a[U+202E]b[U+0000]c[U+D800]d"
    assert visible("two\nlines\tof שלום می\u200cخواهم 日本語 \U0001f600") == (
        "two\nlines\tof שלום می\u200cخواهم 日本語 \U0001f600"
    )


def test_long_text_is_cut_and_counted() -> None:
    assert visible("x" * 12, limit=10) == "x" * 10 + " [2 more characters]"
