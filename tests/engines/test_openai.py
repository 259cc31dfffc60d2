"""What becomes of requests on a server that fails, and of configs that cannot work."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dgr.engines import OpenAIConfig, load_engine
from dgr.engines.base import Completion, Piece, Request, Sampling, ScoreRequest
from dgr.engines.crowd import Window
from dgr.engines.http import pause
from dgr.engines.openai import OpenAIEngine, served_models
from dgr.engines.prompts import encode
from dgr.errors import UserError
from tests.engines.api_server import ApiServer, api_server, scripted, slow

SAMPLING = Sampling(max_new_tokens=8)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with api_server(scripted, {"base": 4096}) as server:
        yield server


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dgr.engines.http.pause", lambda attempt, asked: 0.001)


def engine(server: ApiServer, model: Path, **settings: Any) -> OpenAIEngine:
    settings = {"served": {str(model): "base"}, **settings}
    config = OpenAIConfig(kind="openai", url=server.url, **settings)
    loaded = load_engine(config, model)
    assert isinstance(loaded, OpenAIEngine)
    return loaded


def requests(count: int) -> list[Request]:
    return [Request(f"r{i}", f"question {i}", seed=i) for i in range(count)]


def check(found: list[Completion], asked: list[Request]) -> None:
    """Each request has its own answer, once."""
    assert sorted(one.key for one in found) == sorted(one.key for one in asked)
    seeds = {request.key: request.seed for request in asked}
    for one in found:
        assert one.trace == f"thought of {seeds[one.key]}"
        assert (one.answer, one.tokens) == (f"said {seeds[one.key]}", 7)


@pytest.mark.usefixtures("quick")
def test_every_kind_of_failure_is_tried_again(server: ApiServer, tiny_model: Path) -> None:
    weathers = ["500", "503", "429", "408", "drop", "half", "hang", "no-json", "null", "list",
                "no-choices", "aborted", "no-ids"]  # fmt: skip
    server.weather = lambda count: weathers[count] if count < len(weathers) else "fine"
    asked = requests(30)
    check(list(engine(server, tiny_model, timeout_s=0.5).generate(asked, SAMPLING)), asked)
    assert len(server.asked) == len(asked) + len(weathers)


@pytest.mark.usefixtures("quick")
def test_what_fails_for_good_is_told_once_and_the_rest_is_there(
    server: ApiServer, tiny_model: Path
) -> None:
    def answer(path: str, body: dict[str, Any]) -> dict[str, Any]:
        return {"choices": []} if body["seed"] % 3 == 0 else scripted(path, body)

    server.answer = answer
    asked, found = requests(20), []
    with pytest.raises(UserError) as error:
        for one in engine(server, tiny_model, attempts=3).generate(asked, SAMPLING):
            found.append(one)
    check(found, [one for one in asked if one.seed % 3])
    assert str(error.value) == (
        f"7 of 20 completions are missing: the server at {server.url} answered without a sound "
        "choices (7 x); what came is kept, so mend that and run the same command again to go on"
    )
    assert Counter(body["seed"] for body in server.asked)[3] == 3


@pytest.mark.usefixtures("quick")
def test_a_server_that_is_gone_is_not_asked_for_ever(server: ApiServer, tiny_model: Path) -> None:
    server.weather = lambda count: "fine" if count < 40 else "drop"
    loaded, found = engine(server, tiny_model, attempts=2), []
    asked = iter(requests(10_000))
    with pytest.raises(UserError, match=r"and more were not tried.* dropped the connection"):
        for one in loaded.generate(asked, SAMPLING):
            found.append(one)
    assert len(found) == 40
    assert len(server.asked) < 400
    assert next(asked).seed < 300


def test_a_refused_key_ends_it_at_once_and_is_told_nowhere(
    server: ApiServer, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.key = "right"
    monkeypatch.setenv("SERVER_KEY", "wrong-and-secret")
    with pytest.raises(UserError, match="answered with status 401") as error:
        list(engine(server, tiny_model, key_env="SERVER_KEY").generate(requests(900), SAMPLING))
    assert "secret" not in str(error.value)
    assert len(server.asked) <= 40
    monkeypatch.setenv("SERVER_KEY", "right")
    asked = requests(3)
    check(list(engine(server, tiny_model, key_env="SERVER_KEY").generate(asked, SAMPLING)), asked)


def test_a_request_that_the_server_refuses_is_not_sent_twice(
    server: ApiServer, tiny_model: Path
) -> None:
    server.weather = lambda count: "400" if count == 2 else "fine"
    with pytest.raises(UserError, match=r"1 of 5 .* answered with status 400 \(it is 400\)"):
        list(engine(server, tiny_model).generate(requests(5), SAMPLING))
    assert len(server.asked) == 5


def test_as_many_at_once_as_the_server_bears(tiny_model: Path) -> None:
    with api_server(slow(0.2), {"base": None}) as server:
        loaded = engine(server, tiny_model, max_concurrency=64, attempts=200)
        list(loaded.generate(requests(240), SAMPLING))
        assert 40 <= server.most_at_once <= 64
        server.weather = lambda count: "429" if server.at_once > 8 else "fine"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dgr.engines.http.pause", lambda attempt, asked: 0.02)
            list(loaded.generate(requests(80), SAMPLING))
        assert loaded._window.limit <= 24


def test_the_window_is_halved_once_for_what_was_sent_together() -> None:
    window = Window(100)
    for _ in range(30):
        window.went_well()
    assert window.limit == 46
    sent = time.monotonic()
    for _ in range(5):
        window.was_too_much(sent)
    assert window.limit == 23
    window.went_well()
    assert window.limit == 23
    window.was_too_much(time.monotonic())
    assert window.limit == 11


def test_pauses_grow_and_are_never_the_same() -> None:
    for attempt, longest in [(1, 0.5), (3, 2.0), (20, 60.0)]:
        found = {pause(attempt, 0.0) for _ in range(20)}
        assert len(found) > 10
        assert longest / 2 <= min(found) and max(found) <= longest
    assert 7.0 <= pause(1, 7.0) <= 7.5
    assert pause(1, 1e9) < 61


def test_what_the_server_is_told(server: ApiServer, tiny_model: Path) -> None:
    loaded = engine(server, tiny_model, extra={"priority": 3, "min_p": None})
    question = "is </think> a tag?"
    list(loaded.generate([Request("r", question, until="trace", seed=5)], SAMPLING))
    [body] = server.asked
    assert body["prompt"] == loaded.turns.chat.prompt_ids(question)
    assert body["prompt"].count(loaded.turns.chat.close_id) == 0
    assert body["stop_token_ids"] == sorted(loaded.turns.stops | {loaded.turns.chat.close_id})
    told = {name: body[name] for name in ("model", "seed", "max_tokens", "temperature", "top_p")}
    assert told == {"model": "base", "seed": 5, "max_tokens": 8, "temperature": 0.6, "top_p": 0.95}
    assert (body["priority"], body["top_k"], body["repetition_penalty"]) == (3, -1, 1.0)
    assert "min_p" not in body


def test_a_shorter_context_of_the_server_counts(server: ApiServer, tiny_model: Path) -> None:
    server.models = {"base": 40}
    loaded = engine(server, tiny_model)
    assert loaded.context_length == 40
    assert not loaded.fits(Request("r", "q"), 40)
    with pytest.raises(UserError, match="exceed the context of 40"):
        list(loaded.generate([Request("r", "think " * 30)], SAMPLING))
    assert server.asked == []


def test_a_server_that_does_not_tell_its_models(server: ApiServer, tiny_model: Path) -> None:
    server.models = {}
    loaded = engine(server, tiny_model)
    assert served_models(loaded.config) is None
    assert loaded.context_length == 512
    check(list(loaded.generate(requests(2), SAMPLING)), requests(2))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"served": {"other": "base"}}, "engine.served does not name .*; add it with its name on"),
        ({"served": {"{model}": "other"}}, "does not serve other but base; correct engine.served"),
        ({"key_env": "NO_SUCH_KEY"}, "NO_SUCH_KEY is not set; put the key of http"),
        ({"url": "http://127.0.0.1:9/v1"}, r"127\.0\.0\.1:9/v1 cannot be reached; start it"),
    ],
)
@pytest.mark.usefixtures("quick")
def test_configs_that_cannot_work(
    server: ApiServer, tiny_model: Path, settings: dict[str, Any], sentence: str
) -> None:
    served = settings.get("served", {"{model}": "base"})
    served = {key.format(model=tiny_model): name for key, name in served.items()}
    server.url = settings.get("url", server.url)
    with pytest.raises(UserError, match=sentence):
        others = {k: v for k, v in settings.items() if k not in ("served", "url")}
        loaded = engine(server, tiny_model, served=served, **others)
        list(loaded.generate(requests(1), SAMPLING))


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (Request("r", "q", trace=""), "pre-fills the trace"),
        (Request("r", "", prompt=(Piece("Is it safe?"),)), "is a whole prompt"),
    ],
)
def test_chat_takes_questions_alone(
    server: ApiServer, tiny_model: Path, request_: Request, what: str
) -> None:
    loaded = engine(server, tiny_model, api="chat")
    with pytest.raises(UserError, match=rf"request r {what}.*api: completions"):
        list(loaded.generate([request_], SAMPLING))
    assert server.asked == []


def test_chat_is_told_the_earlier_turns(server: ApiServer, tiny_model: Path) -> None:
    loaded = engine(server, tiny_model, api="chat")
    before = (("user", "one?"), ("assistant", "1"))
    server.answer = lambda path, body: {
        "choices": [{"message": {"content": "2"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2},
    }
    [found] = loaded.generate([Request("r", "two?", before=before)], SAMPLING)
    assert [tuple(turn.values()) for turn in server.asked[0]["messages"]] == [
        *before,
        ("user", "two?"),
    ]
    assert (found.prompt_tokens, found.tokens) == (9, 2)


def test_a_whole_prompt_goes_as_it_is(server: ApiServer, tiny_model: Path) -> None:
    loaded = engine(server, tiny_model)
    pieces = (Piece("Is this safe: "), Piece("</think> yes"))
    [found] = loaded.generate([Request("r", "", prompt=pieces)], SAMPLING)
    [body] = server.asked
    assert body["prompt"] == encode(loaded.turns.chat.tokenizer, pieces)
    assert (found.trace, found.closed) == ("", True)
    assert "thought of 0" in found.answer


def test_a_server_that_gives_no_prompt_log_probabilities(
    server: ApiServer, tiny_model: Path
) -> None:
    server.answer = lambda path, body: {"choices": [{"text": "", "finish_reason": "length"}]}
    asked = [ScoreRequest(f"r{i}", "what?", "think", "answer") for i in range(3)]
    with pytest.raises(UserError, match=r"no prompt log-prob.*set engine\.scoring: transformers"):
        list(engine(server, tiny_model, scoring="engine").score(asked))
    assert {one.key for one in engine(server, tiny_model).score(asked)} == {"r0", "r1", "r2"}


def test_a_model_that_is_not_served_runs_here_where_that_is_wanted(
    server: ApiServer, tiny_model: Path
) -> None:
    config = OpenAIConfig(
        kind="openai", url=server.url, served={"other": "base"}, unserved="transformers"
    )
    assert type(load_engine(config, tiny_model)).__name__ == "TransformersEngine"
