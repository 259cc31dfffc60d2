"""Cron expressions: crontab's five fields become KFP's six; mistakes are told."""

import pytest

from dgr.errors import UserError
from pipelines.cron import cron_of


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("0 3 * * 1", "0 0 3 * * 1"),
        ("*/15 0-6,22 1 * ?", "0 */15 0-6,22 1 * ?"),
        ("30 0 3 1 jan mon-fri", "30 0 3 1 JAN MON-FRI"),
        ("0 0 9 ? * 2-6", "0 0 9 ? * 2-6"),
        ("0 0 * * 0/2", "0 0 0 * * 0/2"),
    ],
)
def test_expressions_become_six_fields(text: str, fields: str) -> None:
    assert cron_of(text) == fields


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "write five fields"),
        ("0 3 * *", "write five fields"),
        ("0 0 0 0 0 0 0", "write five fields"),
        ("60 3 * * *", r"'60' is no minute \(0 to 59"),
        ("0 24 * * *", "'24' is no hour"),
        ("0 3 0 * *", r"'0' is no day of the month \(1 to 31"),
        ("0 3 * 13 *", "'13' is no month"),
        ("0 3 * * 7", r"'7' is no day of the week \(0 to 6"),
        ("0 3 * * fri-mon", "'FRI-MON' is no day of the week"),
        ("*/0 3 * * *", r"'\*/0' is no minute"),
        ("0 3,, * * *", "'' is no hour"),
        ("0 MON * * *", "'MON' is no hour"),
        ("0 3 * * \N{SUPERSCRIPT TWO}", "is no day of the week"),
    ],
)
def test_mistakes_are_told_by_their_field(text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        cron_of(text)
