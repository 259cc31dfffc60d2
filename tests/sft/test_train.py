"""Real training of a tiny random model."""

import json
import resource
import shutil
from itertools import pairwise

import pytest
import torch

from dgr.errors import UserError
from dgr.files import read_json, read_records
from dgr.sft import SftConfig, TrainStep, show_masks, train
from dgr.sft.order import training_order
from dgr.sft.rows import IGNORED, encode_row
from dgr.thinking import load_chat
from tests.sft.conftest import ROWS, write_arm

CONFIG = SftConfig(
    learning_rate=1e-3, batch_size=4, max_steps=12, device="cpu", threads=1, warmup_ratio=0.0
)


@pytest.fixture(scope="module")
def full(tiny_model, arm, tmp_path_factory):
    out = tmp_path_factory.mktemp("full")
    train(CONFIG, model=tiny_model, arm=arm, out=out, seed=0)
    return out


@pytest.fixture(scope="module")
def lora(tiny_model, arm, tmp_path_factory):
    out = tmp_path_factory.mktemp("lora")
    config = CONFIG.model_copy(update={"method": "lora"})
    train(config, model=tiny_model, arm=arm, out=out, seed=0)
    return out


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def load(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def completion_loss(model, rows):
    """Mean NLL of the completions' tokens, by hand: one bare forward pass a row."""
    total, tokens = 0.0, 0
    for row in rows:
        logits = model(torch.tensor([row.input_ids])).logits[0, :-1].log_softmax(-1)
        for position, label in enumerate(row.labels[1:]):
            if label != IGNORED:
                total -= float(logits[position, label])
                tokens += 1
    return total / tokens


def test_the_first_loss_is_the_completions_nll_under_the_base(full, tiny_model):
    chat = load_chat(tiny_model, "auto")
    rows = [encode_row(chat, row) for row in ROWS]
    order = training_order([row.tokens for row in rows], 3, 4, 12, seed=0)
    batch = [rows[index] for index in order[:4]]
    with torch.no_grad():
        expected = completion_loss(load(tiny_model), batch)
    first = next(read_records(full / "records.jsonl", TrainStep))
    assert first.loss == pytest.approx(expected, rel=1e-5)
    assert first.tokens == sum(row.tokens for row in batch)
    assert first.supervised_tokens == sum(row.supervised for row in batch)


def test_micro_batches_change_nothing_but_memory(full, tiny_model, arm, tmp_path):
    config = CONFIG.model_copy(update={"micro_batch_size": 1})
    train(config, model=tiny_model, arm=arm, out=tmp_path, seed=0)
    one = [row.loss for row in read_records(tmp_path / "records.jsonl", TrainStep)]
    four = [row.loss for row in read_records(full / "records.jsonl", TrainStep)]
    assert one == pytest.approx(four, rel=1e-3)


def test_training_learns(full):
    losses = [row.loss for row in read_records(full / "records.jsonl", TrainStep)]
    assert losses[-1] < losses[0] - 0.5


def test_the_schedule_is_a_cosine_to_zero(full):
    rates = [row.learning_rate for row in read_records(full / "records.jsonl", TrainStep)]
    assert rates[0] == pytest.approx(1e-3)
    assert all(a > b for a, b in pairwise(rates))
    assert rates[6] == pytest.approx(5e-4)  # cos(pi / 2)


def test_the_model_folder_is_the_base_with_other_weights(full, tiny_model):
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (full / "model" / name).read_bytes() == (tiny_model / name).read_bytes()
    base, tuned = weights(tiny_model), weights(full / "model")
    assert base.keys() == tuned.keys()
    assert {t.dtype for t in base.values()} == {t.dtype for t in tuned.values()}
    assert any(not torch.equal(base[name], tuned[name]) for name in base)
    assert load_chat(full / "model", "auto").prompt_ids("hi") == load_chat(
        tiny_model, "auto"
    ).prompt_ids("hi")


def test_the_merged_model_equals_base_plus_adapter(lora, tiny_model):
    from peft import PeftModel

    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        merged = load(lora / "model")(ids).logits
        adapted = PeftModel.from_pretrained(load(tiny_model), lora / "adapter")(ids).logits
        plain = load(tiny_model)(ids).logits
    torch.testing.assert_close(merged, adapted, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(merged, plain, atol=1e-3)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_half_precision_base_is_trained_in_float32_and_saved_as_it_was(
    tiny_model, arm, tmp_path, method
):
    half = shutil.copytree(tiny_model, tmp_path / "half")
    load(tiny_model).to(torch.bfloat16).save_pretrained(half)
    config = CONFIG.model_copy(update={"method": method, "max_steps": 3})
    train(config, model=half, arm=arm, out=tmp_path / "out", seed=0)
    tuned = weights(tmp_path / "out/model")
    assert {tensor.dtype for tensor in tuned.values()} == {torch.bfloat16}
    assert any(not torch.equal(tuned[name], tensor) for name, tensor in weights(half).items())


@pytest.mark.parametrize("method", ["full", "lora"])
def test_bfloat16_and_gradient_checkpointing_train_as_well(full, tiny_model, arm, tmp_path, method):
    options = {"method": method, "dtype": "bfloat16", "gradient_checkpointing": True}
    train(CONFIG.model_copy(update=options), model=tiny_model, arm=arm, out=tmp_path, seed=0)
    losses = [row.loss for row in read_records(tmp_path / "records.jsonl", TrainStep)]
    exact = next(read_records(full / "records.jsonl", TrainStep)).loss
    assert losses[0] == pytest.approx(exact, rel=0.01)
    assert losses[-1] < losses[0]


def test_an_adapter_names_no_path_of_this_machine(lora, tiny_model):
    assert str(tiny_model.parent) not in (lora / "adapter" / "adapter_config.json").read_text()


def test_without_merge_the_adapter_is_all_there_is(tiny_model, arm, tmp_path):
    config = CONFIG.model_copy(update={"method": "lora", "merge": False, "max_steps": 1})
    train(config, model=tiny_model, arm=arm, out=tmp_path, seed=0)
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    assert not (tmp_path / "model").exists()


def test_seed_decides_bit_for_bit_and_a_finished_step_is_not_run_again(
    full, tiny_model, arm, tmp_path
):
    train(CONFIG, model=tiny_model, arm=arm, out=tmp_path / "a", seed=0)
    assert (tmp_path / "a/manifest.json").read_bytes() == (full / "manifest.json").read_bytes()
    before = (full / "timing.json").read_bytes()
    train(CONFIG, model=tiny_model, arm=arm, out=full, seed=0)
    assert (full / "timing.json").read_bytes() == before
    train(CONFIG, model=tiny_model, arm=arm, out=tmp_path / "b", seed=1)
    assert weights(tmp_path / "b/model").keys() == weights(full / "model").keys()
    assert (tmp_path / "b/records.jsonl").read_bytes() != (full / "records.jsonl").read_bytes()


def test_another_config_replaces_a_former_result(tiny_model, arm, tmp_path):
    lora = CONFIG.model_copy(update={"method": "lora", "max_steps": 1})
    train(lora, model=tiny_model, arm=arm, out=tmp_path, seed=0)
    train(
        lora.model_copy(update={"method": "full"}), model=tiny_model, arm=arm, out=tmp_path, seed=0
    )
    assert read_json(tmp_path / "summary.json")["method"] == "full"
    assert not (tmp_path / "adapter").exists()


def long_row(tokens_at_least):
    return ROWS[0].model_copy(update={"id": "too-long", "trace": "word " * tokens_at_least})


def test_a_row_that_does_not_fit_is_an_error_with_its_id(tiny_model, tmp_path):
    folder = write_arm(tmp_path / "arm", [*ROWS, long_row(5_000)])
    with pytest.raises(UserError, match=r"row too-long has [\d,]+ tokens and at most .* fit"):
        train(CONFIG, model=tiny_model, arm=folder, out=tmp_path / "out", seed=0)
    assert not (tmp_path / "out/manifest.json").exists()


def test_or_it_is_dropped_and_counted(tiny_model, tmp_path):
    folder = write_arm(tmp_path / "arm", [*ROWS, long_row(5_000)])
    config = CONFIG.model_copy(update={"on_long_row": "drop", "max_steps": 1})
    train(config, model=tiny_model, arm=folder, out=tmp_path / "out", seed=0)
    summary = read_json(tmp_path / "out/summary.json")
    assert (summary["rows"], summary["rows_dropped"]) == (len(ROWS), 1)
    assert summary["dropped_ids"] == ["too-long"]


def test_nothing_is_truncated(tiny_model, tmp_path):
    """Every token of the longest row that fits is trained on."""
    chat = load_chat(tiny_model, "auto")
    row = long_row(40)
    encoded = encode_row(chat, row)
    folder = write_arm(tmp_path / "arm", [row])
    config = CONFIG.model_copy(update={"max_steps": 1, "max_length": encoded.tokens})
    train(config, model=tiny_model, arm=folder, out=tmp_path / "out", seed=0)
    step = next(read_records(tmp_path / "out/records.jsonl", TrainStep))
    with torch.no_grad():
        assert step.loss == pytest.approx(completion_loss(load(tiny_model), [encoded]), rel=1e-5)


def test_a_model_folder_that_is_not_whole(tiny_model, arm, tmp_path):
    for name, missing in (("a", "config.json"), ("b", "model.safetensors")):
        folder = shutil.copytree(tiny_model, tmp_path / name)
        (folder / missing).unlink()
        with pytest.raises(UserError, match=r"the model in .* cannot be loaded"):
            train(CONFIG, model=folder, arm=arm, out=tmp_path / f"out-{name}", seed=0)
        assert not (tmp_path / f"out-{name}/model").exists()


def test_an_empty_arm_and_a_too_great_max_length(tiny_model, arm, tmp_path):
    empty = write_arm(tmp_path / "arm", [])
    with pytest.raises(UserError, match="it is empty"):
        train(CONFIG, model=tiny_model, arm=empty, out=tmp_path / "a", seed=0)
    with pytest.raises(UserError, match=r"sft\.max_length is 10,000,000 but the context"):
        train(
            CONFIG.model_copy(update={"max_length": 10_000_000}),
            model=tiny_model,
            arm=arm,
            out=tmp_path / "b",
            seed=0,
        )


def test_a_broken_loss_is_an_error_not_a_model(tiny_model, arm, tmp_path):
    broken = shutil.copytree(tiny_model, tmp_path / "model")
    poison(broken)
    with pytest.raises(UserError, match=r"the training loss is nan at step 1; lower"):
        train(CONFIG, model=broken, arm=arm, out=tmp_path / "out", seed=0)
    assert not (tmp_path / "out/model").exists()


def poison(folder):
    """One weight that is not a number, as a diverged or damaged model has."""
    from safetensors.torch import save_file

    tensors = weights(folder)
    name = next(name for name in tensors if name.endswith("norm.weight"))
    tensors[name] = tensors[name].clone()
    tensors[name][0] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("checkpoint_every", [1, 50])
def test_a_full_disk_is_told_in_one_sentence(tiny_model, arm, tmp_path, checkpoint_every):
    """A limit on the size of files stands in for the disk; writes fail the same way."""
    config = CONFIG.model_copy(update={"checkpoint_every": checkpoint_every, "max_steps": 2})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"^cannot write .*free some space"):
            train(config, model=tiny_model, arm=arm, out=tmp_path / "out", seed=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "out/manifest.json").exists()
    train(config, model=tiny_model, arm=arm, out=tmp_path / "out", seed=0)
    assert (tmp_path / "out/model/model.safetensors").is_file()


def test_special_token_text_in_a_row_stays_text(tiny_model):
    chat = load_chat(tiny_model, "auto")
    plain = encode_row(chat, ROWS[0])
    special = set(chat.tokenizer.added_tokens_decoder)

    def specials(row):
        return [token for token in row.input_ids if token in special]

    names = " ".join(token.content for token in chat.tokenizer.added_tokens_decoder.values())
    hostile = ROWS[0].model_copy(
        update={"question": names, "trace": f"x {names} y", "answer": names}
    )
    assert specials(encode_row(chat, hostile)) == specials(plain)


def test_masks_show_what_carries_loss(tiny_model, arm):
    text = show_masks(CONFIG, model=tiny_model, arm=arm, rows=2)
    assert text.startswith("row-0: ")
    assert "row-1: " in text
    assert "row-2: " not in text
    context, completion = text.split("[completion, loss")[:2]
    assert "What is 0 plus 0?" in "".join(line[4:] for line in context.split("\n")).replace("|", "")
    assert "«</think>»" in completion
    assert f"{len(ROWS)} rows" in text
    chat = load_chat(tiny_model, "auto")
    supervised = sum(encode_row(chat, row).supervised for row in ROWS)
    assert f"{supervised:,} with loss" in text


def test_masks_escape_control_characters(tiny_model, tmp_path):
    row = ROWS[0].model_copy(update={"question": "red \x1b[31m alert"})
    text = show_masks(CONFIG, model=tiny_model, arm=write_arm(tmp_path / "arm", [row]), rows=1)
    assert "\x1b" not in text
    assert "\\x1b" in text


def test_the_summary_is_plain_json(full):
    summary = json.loads((full / "summary.json").read_text())
    assert summary["steps"] == 12
    assert summary["rows"] == len(ROWS)
    rows = list(read_records(full / "records.jsonl", TrainStep))
    assert summary["tokens_seen"] == sum(row.tokens for row in rows)
    assert summary["final_loss"] == rows[-1].loss
