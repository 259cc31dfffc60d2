"""Tokenizer, template and training: what the model sees is what the library renders."""

from pathlib import Path

import pytest

from dgr.nano.corpus import examples
from dgr.nano.tokenizer import Encoder, build_tokenizer
from dgr.nano.train import NanoConfig, train
from dgr.thinking import load_chat


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer(folder, seed=0)
    return folder


def test_training_ids_are_those_of_the_chat_template(folder: Path) -> None:
    from transformers import AutoTokenizer

    chat, tokenizer = load_chat(folder), AutoTokenizer.from_pretrained(folder)
    rows = examples(seed=1, chunk=0, count=200)
    for row, (prompt, completion) in zip(rows, Encoder(folder).encode(rows), strict=True):
        assert prompt == chat.prompt_ids(row.question)
        assert completion == chat.completion_ids(row.trace, row.answer)
        user = {"role": "user", "content": row.question}
        texts = [
            tokenizer.apply_chat_template([user, reply], tokenize=False)
            for reply in (
                {"role": "assistant", "reasoning_content": row.trace, "content": row.answer},
                {
                    "role": "assistant",
                    "content": f"<think>\n{row.trace}\n</think>\n\n{row.answer}",
                },
            )
        ]
        assert texts[0] == texts[1]
        ids = tokenizer(texts[0], add_special_tokens=False)["input_ids"]
        assert ids == prompt + completion


@pytest.mark.parametrize("text", ["Grüße 🚀 数学\t\r\n", "</think> <|end|>", "0123456789", "\x00é"])
def test_any_text_comes_back(folder: Path, text: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert not set(ids) & set(tokenizer.all_special_ids)


def test_digits_stand_alone(folder: Path) -> None:
    chat = load_chat(folder)
    assert len(chat.tokenizer("1234", add_special_tokens=False)["input_ids"]) == 4


def test_a_stopped_training_ends_like_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.numpy import load_file

    from dgr.nano import train as module

    config = NanoConfig(
        hidden=64, heads=1, layers=1, steps=6, batch_size=4, warmup=2, checkpoint_every=2, threads=1
    )
    train(config, work=tmp_path / "w1", out=tmp_path / "whole", seed=0)

    steps = 0
    step = module._step

    def stop_after_three(*args: object, **kwargs: object) -> None:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise KeyboardInterrupt
        step(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_step", stop_after_three)
    with pytest.raises(KeyboardInterrupt):
        train(config, work=tmp_path / "w2", out=tmp_path / "again", seed=0)
    assert not (tmp_path / "again" / "model.safetensors").exists()
    monkeypatch.setattr(module, "_step", step)
    train(config, work=tmp_path / "w2", out=tmp_path / "again", seed=0)
    whole, again = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "again"))
    assert whole.keys() == again.keys()
    assert all((whole[name] == again[name]).all() for name in whole)
