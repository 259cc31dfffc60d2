from typing import Any

import pytest
from pydantic import ValidationError

from dgr.own import OwnConfig

REASONING = {"path": "sums.jsonl", "kind": "reasoning"}


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"refusal_instruction": "Say no."}, r"lacks \{question\}"),
        ({"judge": "jury"}, "no judge 'jury'; choose one of nano, refusal"),
        ({"scorer": "jury"}, "no scorer 'jury'; choose one of choice, math, nano, number"),
        ({"mix": [REASONING]}, "needs a scorer: one of choice, math, nano, number"),
        ({"temperature": 0, "attempts": 2}, "the same sample every time"),
        ({"attempts": 0}, "greater than or equal to 1"),
        ({"mix": [REASONING | {"kind": "harmful"}], "scorer": "number"}, "harmless"),
        ({"mix": [REASONING | {"count": 0}], "scorer": "number"}, "greater than or equal to 1"),
        ({"mix": [REASONING | {"families": []}], "scorer": "number"}, "at least 1 item"),
        ({"mixes": []}, "Extra inputs"),
    ],
)
def test_a_mistake_is_told(value: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        OwnConfig.model_validate(value)


def test_references_alone_are_the_default() -> None:
    config = OwnConfig()
    assert (config.reference, config.mix, config.refusal, config.attempts) == (True, (), False, 1)
