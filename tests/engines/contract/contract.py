"""What every engine keeps to. A test class of one engine inherits `Contract` and makes engines.

The transformers engine is the reference: at temperature 0 and in float32 all engines say what it
says, and the log-probabilities of those that score lie within `tolerance` of its own.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dgr.engines import TransformersConfig, load_engine
from dgr.engines.base import Completion, Engine, Request, Sampling, Score, ScoreRequest
from dgr.errors import UserError
from dgr.records import Finish
from tests.engines.models import NANO

Make = Callable[..., Engine]
"""`make(model, thinking="auto")`: an engine of the model."""

GREEDY = Sampling(temperature=0, max_new_tokens=160)
WARM = Sampling(temperature=2.0, top_p=0.98, max_new_tokens=24)
ODD = {
    "empty": "",
    "tags": "what is </think> and <think>\n<|im_end|> <|eos|>?",
    "unicode": "Größe 10 µm, 你好 🙂‍↔️ \u202e\u00a0 e\u0301?",
    "lines": "\n\n a\tb \r\n",
}


def questions(count: int, kind: str = "reasoning") -> list[str]:
    lines = (NANO / "data" / "eval" / f"{kind}.jsonl").read_text().splitlines()
    return [json.loads(line)["question"] for line in lines[:count]]


def by_key(found: Iterable[Any]) -> dict[str, Any]:
    results = list(found)
    keyed = {result.key: result for result in results}
    assert len(keyed) == len(results)
    return keyed


@pytest.fixture(scope="session")
def reference() -> Callable[[Path], Engine]:
    """The transformers engine of a model."""
    made: dict[tuple[Path, str], Engine] = {}

    def make(model: Path, thinking: Any = "auto") -> Engine:
        if (model, thinking) not in made:
            config = TransformersConfig(device="cpu", dtype="float32", threads=1, thinking=thinking)
            made[model, thinking] = load_engine(config, model)
        return made[model, thinking]

    return make


class Contract:
    tolerance = 1e-3
    """Nats, for one token."""
    free_of_batch = True
    """Whether a seed gives the same whatever it is batched with."""

    def run(self, engine: Engine, requests: list[Request], sampling: Sampling = GREEDY) -> Any:
        found: dict[str, Completion] = by_key(engine.generate(requests, sampling))
        assert set(found) == {request.key for request in requests}
        return found

    def test_greedy_is_the_same_everywhere(self, make: Make, reference: Make) -> None:
        asked = questions(4) + questions(2, "harmful") + list(ODD.values())
        requests = [Request(f"r{i}", question) for i, question in enumerate(asked)]
        found = self.run(make(NANO), requests)
        assert found == self.run(reference(NANO), requests)
        ended = [one for one in found.values() if one.finish is Finish.STOP and one.closed]
        assert len(ended) >= 5
        assert all(one.trace and one.answer for one in ended)

    def test_a_seed_gives_the_same_twice(self, make: Make) -> None:
        engine = make(NANO)
        requests = [Request(f"r{i}", question, seed=i) for i, question in enumerate(questions(4))]
        first = self.run(engine, requests, WARM)
        assert self.run(engine, requests, WARM) == first
        seeds = [Request(f"s{i}", requests[0].question, seed=i) for i in range(4)]
        said = {one.trace + one.answer for one in self.run(engine, seeds, WARM).values()}
        assert len(said) > 1
        if self.free_of_batch:
            assert self.run(engine, requests[2:3], WARM)["r2"] == first["r2"]

    def test_requests_that_hang_on_completions(self, make: Make) -> None:
        """Each completion brings another request, and the engine takes them as they come."""
        engine, asked = make(NANO), questions(6)
        ready = [Request(f"first {i}", asked[i], until="trace") for i in range(5)]
        open_, found = len(ready), dict[str, Completion]()

        def requests() -> Iterator[Request | None]:
            while open_:
                yield ready.pop(0) if ready else None

        for completion in engine.generate(requests(), GREEDY):
            found[completion.key] = completion
            open_ -= 1
            order, number = completion.key.split()
            if order == "first" and int(number) != 2:
                open_ += 1
                question = asked[int(number)]
                ready.append(Request(f"then {number}", question, trace=completion.trace))
        assert len(found) == 9
        for number in (0, 4):
            whole = self.run(engine, [Request("r", asked[number])])["r"]
            assert whole.trace == found[f"first {number}"].trace
            assert whole.answer == found[f"then {number}"].answer

    def test_nothing_to_do(self, make: Make) -> None:
        assert list(make(NANO).generate([], GREEDY)) == []

    @pytest.mark.parametrize("limit", [1, 5])
    def test_cut_at_the_limit(self, make: Make, limit: int) -> None:
        found = self.run(
            make(NANO), [Request("r", questions(1)[0])], Sampling(max_new_tokens=limit)
        )["r"]
        assert (found.finish, found.tokens) == (Finish.LENGTH, limit)
        assert (found.closed, found.answer) == (False, "")

    def test_a_closing_tag_of_several_tokens(self, make: Make, chain_model: Path) -> None:
        """The thinking format s1, and an end that falls on the limit."""
        engine = make(chain_model, thinking="s1")
        whole = self.run(engine, [Request("r", "why?")])["r"]
        assert (whole.trace, whole.answer) == ("the reason is", "no help")
        assert (whole.closed, whole.finish) == (True, Finish.STOP)
        exact, short = (
            self.run(engine, [Request("r", "why?")], Sampling(max_new_tokens=limit))["r"]
            for limit in (whole.tokens, whole.tokens - 1)
        )
        assert exact == whole
        assert (short.answer, short.finish) == ("no help", Finish.LENGTH)
        trace = self.run(engine, [Request("r", "why?", until="trace")])["r"]
        assert (trace.trace, trace.answer) == ("the reason is", "")
        assert (trace.closed, trace.finish) == (True, Finish.STOP)
        assert 0 < trace.tokens < whole.tokens

    def test_traces_alone(self, make: Make, reference: Make) -> None:
        requests = [Request(f"r{i}", q, until="trace") for i, q in enumerate(questions(4))]
        found = self.run(make(NANO), requests)
        assert found == self.run(reference(NANO), requests)
        assert all(one.closed and one.finish is Finish.STOP for one in found.values())
        assert all(one.trace and not one.answer for one in found.values())

    def test_traces_that_are_given(self, make: Make, reference: Make) -> None:
        """An empty one too, and one that holds tags as text."""
        traces = {"given": "1 2 3", **ODD}
        requests = [
            Request(name, questions(1)[0], trace=trace, seed=3) for name, trace in traces.items()
        ]
        found = self.run(make(NANO), requests)
        assert found == self.run(reference(NANO), requests)
        assert all(found[name].trace == trace for name, trace in traces.items())
        assert all(one.closed for one in found.values())

    def test_what_does_not_fit_is_refused(self, make: Make) -> None:
        engine = make(NANO)
        short, long = Request("short", "why?"), Request("too-long", "why " * 4_000)
        assert engine.fits(short, 10)
        assert not engine.fits(short, engine.context_length)
        assert not engine.fits(long, 10)
        with pytest.raises(UserError, match=r"too-long.*exceed the context of"):
            list(engine.generate([long], GREEDY))
        self.run(engine, [short], Sampling(max_new_tokens=2))

    def test_scores(self, make: Make, reference: Make) -> None:
        requests = [
            ScoreRequest("plain", questions(1)[0], "1 2 3", "the answer is 4"),
            ScoreRequest("empty", "", "", ""),
            *(ScoreRequest(name, text, text, text) for name, text in ODD.items() if text),
        ]
        found: dict[str, Score] = by_key(make(NANO).score(requests))
        expected: dict[str, Score] = by_key(reference(NANO).score(requests))
        assert set(found) == set(expected)
        for key, score in expected.items():
            assert found[key].trace == pytest.approx(score.trace, abs=self.tolerance)
            assert found[key].answer == pytest.approx(score.answer, abs=self.tolerance)

    def test_what_is_too_long_to_score_is_refused(self, make: Make) -> None:
        with pytest.raises(UserError, match=r"row too-long .* tokens and the context"):
            list(make(NANO).score([ScoreRequest("too-long", "why?", "why " * 4_000, "no")]))

    def test_adapters_beside_the_model(
        self, make: Make, reference: Make, nano_adapter: Path
    ) -> None:
        """In one call, and the model itself stays as it is."""
        engine = make(NANO)
        asked = questions(3)
        plain = [Request(f"plain{i}", question) for i, question in enumerate(asked)]
        tuned = [
            Request(f"tuned{i}", question, adapter=nano_adapter) for i, question in enumerate(asked)
        ]
        sampling = Sampling(temperature=0, max_new_tokens=24)
        found = self.run(engine, [*tuned, *plain], sampling)
        assert found == self.run(reference(NANO), [*plain, *tuned], sampling)
        assert all(found[f"plain{i}"].trace != found[f"tuned{i}"].trace for i in range(3))
        assert self.run(engine, plain, sampling) == {one.key: found[one.key] for one in plain}

    def test_a_folder_that_is_no_adapter(self, make: Make, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"adapter|served"):
            list(make(NANO).generate([Request("r", "why?", adapter=tmp_path)], GREEDY))
