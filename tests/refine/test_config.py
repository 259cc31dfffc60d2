from typing import Any

import pytest
from pydantic import ValidationError

from dgr.refine import QualityConfig, RefineConfig


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"trace_template": "Say it again: {trace}"}, r"lacks \{question\}"),
        ({"answer_template": "{question}"}, r"lacks \{trace\} and \{answer\}"),
        ({"judge": "jury"}, "no judge 'jury'; choose one of nano, refusal"),
        ({"temperature": 0, "candidates": 2}, "the same rewrite every time"),
        ({"temperature": 0, "resample": 1}, "the same rewrite every time"),
        ({"temperature": float("nan")}, "finite"),
        ({"candidates": 0}, "greater than or equal to 1"),
        ({"resample": -1}, "greater than or equal to 0"),
        ({"selection": "best"}, "lowest_nll"),
        ({"quality": {"meta_phrases": [" "]}}, "pattern"),
        ({"quality": {"speling": True}}, "Extra inputs"),
    ],
)
def test_a_mistake_is_told(value: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        RefineConfig.model_validate(value)


def test_the_defaults_are_those_of_the_method() -> None:
    config = RefineConfig()
    assert (config.temperature, config.top_p, config.max_new_tokens) == (0.6, 0.95, 5_000)
    assert (config.candidates, config.selection, config.resample) == (1, "first", 0)
    assert "rephrase" in config.quality.meta_phrases
    switches = set(QualityConfig.model_fields) - {"meta_phrases"}
    assert all(getattr(config.quality, rule) for rule in switches)
