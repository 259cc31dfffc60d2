import pytest

from dgr.errors import UserError
from dgr.settings import parse_settings
from dgr.sft import SftConfig


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"batch_size": 8, "micro_batch_size": 3}, "micro_batch_size 3 does not divide"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"epochs": 0}, "epochs"),
        ({"lora": {"r": 0}}, "lora.r"),
        ({"lora": {"targets": "everything"}}, "lora.targets"),
        ({"learning_rte": 1e-4}, "learning_rte: no such key"),
        ({"on_long_row": "truncate"}, "on_long_row"),
        ({"warmup_ratio": 1.0}, "warmup_ratio"),
    ],
)
def test_a_bad_value_is_told_by_its_field(value, named):
    with pytest.raises(UserError, match=named):
        parse_settings(SftConfig, value, "sft")


def test_the_whole_batch_is_one_pass_by_default():
    assert SftConfig(batch_size=6).rows_a_pass == 6
    assert SftConfig(batch_size=6, micro_batch_size=2).rows_a_pass == 2
