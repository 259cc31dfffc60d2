import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dgr.engines import TransformersConfig, load_engine, resolve_model
from dgr.engines.base import Completion, Request, Sampling, ScoreRequest
from dgr.engines.batch import Batch, Row
from dgr.engines.transformers import TransformersEngine
from dgr.errors import UserError
from dgr.records import Finish

QUESTIONS = ["what is the answer", "think " * 9, "why?", "decline this request about " * 3]
REQUESTS = [Request(f"r{i}", question, seed=i) for i, question in enumerate(QUESTIONS)]


def engine(model: Path, **settings: object) -> TransformersEngine:
    return load_engine(TransformersConfig(threads=1, **settings), model)  # type: ignore[arg-type]


def by_key(completions: list[Completion]) -> dict[str, Completion]:
    found = {completion.key: completion for completion in completions}
    assert len(found) == len(completions)
    return found


@pytest.mark.parametrize("name", ["tiny_model", "tiny_qwen"])
def test_greedy_equals_the_stock_generate(name: str, request: pytest.FixtureRequest) -> None:
    loaded = engine(request.getfixturevalue(name), batch_size=3)
    sampling = Sampling(temperature=0, max_new_tokens=90)  # more than the cache's first room
    found = by_key(list(loaded.generate(REQUESTS, sampling)))
    for asked in REQUESTS:
        prompt = loaded.chat.prompt_ids(asked.question)
        ids = loaded.model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            do_sample=False,
            max_new_tokens=90,
            eos_token_id=sorted(loaded.chat.stop_ids),
            pad_token_id=0,
        )[0, len(prompt) :].tolist()
        parsed = loaded.chat.parse(ids)
        completion = found[asked.key]
        assert (completion.trace, completion.answer) == (parsed.trace, parsed.answer)
        assert completion.tokens == len(ids)


def test_seed_decides_not_the_batch(tiny_model: Path) -> None:
    sampling = Sampling(temperature=1.0, top_p=0.9, max_new_tokens=40)
    together = by_key(list(engine(tiny_model, batch_size=4).generate(REQUESTS, sampling)))
    apart = by_key(list(engine(tiny_model, batch_size=1).generate(REQUESTS[::-1], sampling)))
    assert together == apart
    other = [Request(r.key, r.question, seed=r.seed + 99) for r in REQUESTS]
    assert by_key(list(engine(tiny_model).generate(other, sampling))) != together


def test_rows_that_finish_early_leave_the_others_unchanged(tiny_model: Path) -> None:
    """Stops are forced by treating a frequent token as one; rows then end at different times."""
    loaded = engine(tiny_model, batch_size=8)
    requests = [Request(f"r{i}", "think about " * (1 + i % 4), seed=i) for i in range(8)]
    sampling = Sampling(temperature=1.0, top_p=1.0, max_new_tokens=60)
    loaded.turns.stops |= set(range(40, 60))
    together = by_key(list(loaded.generate(requests, sampling)))
    lengths = {completion.tokens for completion in together.values()}
    assert len(lengths) > 3
    for asked in requests:
        assert list(loaded.generate([asked], sampling)) == [together[asked.key]]


def test_waiting_rows_take_the_places_of_finished_ones(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = engine(tiny_model, batch_size=4)
    requests = [Request(f"r{i}", "think about " * (1 + i % 5), seed=i) for i in range(14)]
    sampling = Sampling(temperature=1.0, top_p=1.0, max_new_tokens=60)
    loaded.turns.stops |= set(range(40, 60))
    apart = by_key([found for one in requests for found in loaded.generate([one], sampling)])
    sizes: list[int] = []
    step = loaded._step

    def watched(batch: Batch, sampling: Sampling) -> Iterator[Row]:
        sizes.append(len(batch.rows))
        return step(batch, sampling)

    monkeypatch.setattr(loaded, "_step", watched)
    assert by_key(list(loaded.generate(requests, sampling))) == apart
    assert max(sizes) == 4
    # Without places taken anew, four batches would each run as long as their longest row.
    tokens = [completion.tokens for completion in apart.values()]
    assert len(sizes) < sum(max(tokens[i : i + 4]) for i in range(0, 14, 4))


@pytest.mark.parametrize("message", ["", "DefaultCPUAllocator: can't allocate memory"])
def test_out_of_memory_halves_the_batch_and_goes_on(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    """As on a GPU, and as on the CPU: what was generated before it happened is kept."""
    loaded = engine(tiny_model, batch_size=8)
    requests = [Request(f"r{i}", "think about " * (1 + i % 4), seed=i) for i in range(8)]
    scored = [ScoreRequest(f"s{i}", "why?", "think " * i, "no") for i in range(8)]
    sampling = Sampling(temperature=1.0, top_p=1.0, max_new_tokens=20)
    expected = by_key(list(loaded.generate(requests, sampling)))
    scores = {score.key: score for score in loaded.score(scored)}
    calls: list[tuple[int, int]] = []
    forward = loaded.model.forward

    def small(*, input_ids: torch.Tensor, **others: object) -> object:
        calls.append((input_ids.shape[0], input_ids.shape[1]))
        if input_ids.shape[0] > 2 and len(calls) > 5:
            raise RuntimeError(message) if message else torch.OutOfMemoryError
        return forward(input_ids=input_ids, **others)

    monkeypatch.setattr(loaded.model, "forward", small)
    assert by_key(list(loaded.generate(requests, sampling))) == expected
    assert [rows for rows, _ in calls if rows > 2][-2:] == [8, 4]
    # Five tokens were there, and become part of the prompt.
    assert sum(tokens > 1 for _, tokens in calls) < 12
    found = {score.key: score for score in loaded.score(scored)}
    for key, score in scores.items():
        assert [*found[key].trace, *found[key].answer] == pytest.approx(
            [*score.trace, *score.answer], abs=1e-4
        )


def test_memory_that_does_not_do_for_one(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = engine(tiny_model)

    def full(**_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(loaded.model, "forward", full)
    with pytest.raises(UserError, match="memory does not do for a single completion"):
        list(loaded.generate(REQUESTS, Sampling(max_new_tokens=5)))
    with pytest.raises(UserError, match="memory does not do for a single completion"):
        list(loaded.score([ScoreRequest("a", "what?", "think", "answer")]))


def test_another_error_of_the_model_is_not_taken_for_one_of_memory(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = engine(tiny_model)

    def broken(**_: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(loaded.model, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        list(loaded.generate(REQUESTS, Sampling(max_new_tokens=5)))


def test_trace_requests_end_where_the_block_closes(tiny_model: Path) -> None:
    loaded = engine(tiny_model)
    close = loaded.chat.close_id
    assert close is not None
    bias = torch.zeros(loaded.model.config.vocab_size)
    bias[close] = 30.0
    head = loaded.model.lm_head
    handle = head.register_forward_hook(lambda module, inputs, output: output + bias)
    try:
        sampling = Sampling(max_new_tokens=8)
        trace = next(iter(loaded.generate([Request("t", "q", until="trace")], sampling)))
        answer = next(iter(loaded.generate([Request("a", "q", trace="given")], sampling)))
    finally:
        handle.remove()
    assert (trace.closed, trace.finish, trace.tokens) == (True, Finish.STOP, 1)
    assert answer.trace == "given" and answer.tokens == 8


def test_cut_generation_says_so(tiny_model: Path) -> None:
    loaded = engine(tiny_model)
    loaded.turns.stops = frozenset()
    for completion in loaded.generate(REQUESTS, Sampling(max_new_tokens=5)):
        assert completion.finish is Finish.LENGTH
        assert completion.tokens == 5


@pytest.mark.parametrize("batch_tokens", [1, 200, 100_000])
def test_scores_equal_a_bare_forward(tiny_model: Path, batch_tokens: int) -> None:
    loaded = engine(tiny_model, batch_tokens=batch_tokens)
    requests = [
        ScoreRequest("a", "what?", "think about it", "the answer is </think>"),
        ScoreRequest("b", "why " * 20, "", "no"),
        ScoreRequest("c", "q", "reasoning " * 12, "request"),
    ]
    scores = {score.key: score for score in loaded.score(requests)}
    assert set(scores) == {"a", "b", "c"}
    for asked in requests:
        prompt = loaded.chat.prompt_ids(asked.question)
        trace, answer = loaded.chat.completion_parts(asked.trace, asked.answer)
        ids = torch.tensor([prompt + trace + answer])
        with torch.no_grad():
            logs = loaded.model(ids).logits[0].log_softmax(-1)
        expected = [
            logs[place - 1, token].item()
            for place, token in enumerate(ids[0].tolist())
            if place >= len(prompt)
        ]
        found = [*scores[asked.key].trace, *scores[asked.key].answer]
        assert found == pytest.approx(expected, abs=1e-4)
        assert len(scores[asked.key].trace) == len(trace)


def test_divergence_from_itself_is_zero_and_else_positive(tiny_model: Path, tmp_path: Path) -> None:
    loaded = engine(tiny_model)
    requests = [ScoreRequest("a", "what?", "think", "answer")]
    same = next(iter(loaded.compare(tiny_model, requests)))
    assert [*same.trace, *same.answer] == pytest.approx(
        [0.0] * len([*same.trace, *same.answer]), abs=1e-6
    )
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    with torch.no_grad():
        for weight in loaded.model.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    loaded.model.save_pretrained(other)
    changed = next(iter(engine(tiny_model).compare(other, requests)))
    assert min([*changed.trace, *changed.answer]) > 0


def test_request_that_does_not_fit(tiny_model: Path) -> None:
    loaded = engine(tiny_model)
    request = Request("long-one", "think " * 2_000)
    assert not loaded.fits(request, 10)
    with pytest.raises(UserError, match=r"long-one.*context of 512"):
        list(loaded.generate([request], Sampling(max_new_tokens=10)))


def test_model_sources(tiny_model: Path, tmp_path: Path) -> None:
    assert resolve_model(str(tiny_model)) == tiny_model
    for source, complaint in [
        (str(tmp_path), "no config.json"),
        (str(tiny_model / "config.json"), "is a file"),
        ("models/none", "does not exist"),
        ("./none", "does not exist"),
    ]:
        with pytest.raises(UserError, match=complaint):
            resolve_model(source)


def test_broken_weights(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be loaded") as error:
        engine(folder)
    assert "\n" not in str(error.value)
