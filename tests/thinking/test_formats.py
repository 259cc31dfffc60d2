import pytest

from dgr.thinking import R1, S1
from dgr.thinking.formats import Parsed, detect


@pytest.mark.parametrize(
    ("output", "parsed"),
    [
        ("why\n</think>\n\nso", Parsed("why", "so", True)),
        ("<think>\nwhy\n</think>\n\nso", Parsed("why", "so", True)),
        ("cut in the mid", Parsed("cut in the mid", "", False)),
        ("\n</think>\n\nso", Parsed("", "so", True)),
        ("why</think>so</think>twice", Parsed("why", "so</think>twice", True)),
        ("", Parsed("", "", False)),
    ],
)
def test_r1_output_in_its_parts(output: str, parsed: Parsed) -> None:
    assert R1.split(output) == parsed


def test_s1_output_in_its_parts() -> None:
    output = "<|im_start|>think\nwhy\n<|im_start|>answer\nso"
    assert S1.split(output) == Parsed("why", "so", True)


def test_format_is_read_off_the_template() -> None:
    assert detect("{% if x %}<|im_start|>think{% endif %}") is S1
    assert detect("<think>") is R1
