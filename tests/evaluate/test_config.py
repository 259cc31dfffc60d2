from typing import Any

import pytest

from dgr.errors import UserError
from dgr.evaluate import EvaluateConfig
from dgr.settings import parse_settings

MATHS = {"name": "maths", "kind": "reasoning", "path": "m.jsonl", "scorer": "number"}
HARM = {"name": "harm", "kind": "harmful", "path": "h.jsonl", "judge": "refusal"}


def test_a_valid_config() -> None:
    config = parse_settings(EvaluateConfig, {"suites": [MATHS, HARM]}, "c.yaml")
    assert [suite.name for suite in config.suites] == ["maths", "harm"]
    assert config.suites[0].sampling.sampling().temperature == 0.6


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"suites": []}, "suites: Tuple should have at least 1 item"),
        ({"suites": [MATHS, MATHS]}, "two suites have the name 'maths'"),
        ({"suites": [MATHS | {"scorer": None}]}, r"'maths' \(reasoning\) needs a scorer: one of"),
        ({"suites": [MATHS | {"scorer": "oracle"}]}, "needs a scorer"),
        ({"suites": [MATHS | {"judge": "refusal"}]}, "takes a scorer and nothing else"),
        ({"suites": [HARM | {"judge": None}]}, "needs a judge: one of nano, refusal"),
        ({"suites": [HARM | {"kind": "hurtful"}]}, r"suites\.0\.kind"),
        ({"suites": [HARM | {"samples": 0}]}, r"suites\.0\.samples"),
        ({"suites": [HARM | {"name": "a/b"}]}, r"suites\.0\.name"),
        ({"suites": [HARM | {"sampling": {"top_p": 0}}]}, r"suites\.0\.sampling\.top_p"),
        ({"suites": [HARM | {"sampling": {"temp": 1}}]}, r"sampling\.temp: no such key"),
        ({"suites": [HARM], "empty": True}, "empty: no such key"),
    ],
)
def test_bad_configs_name_the_field(value: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        parse_settings(EvaluateConfig, value, "c.yaml")
