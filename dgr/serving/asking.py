"""Asks an OpenAI-compatible server, such as vLLM's."""

import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from dgr.errors import UserError
from dgr.serving.config import ProbePolicy
from dgr.serving.probes import Answered, Probe, ProbeReport
from dgr.thinking.formats import FORMATS

TOKEN_ENV = "DGR_SERVING_TOKEN"
"""Bearer token of the server, where it wants one."""
AT_ONCE = 4
PATIENCE = 60.0
"""Seconds for which a server that is said to be ready may still not be found at its URL."""


def ask_all(url: str, model: str, probes: Sequence[Probe], policy: ProbePolicy) -> ProbeReport:
    """Ask every probe at `<url>/chat/completions`. A question without an answer is a wrong one;
    a server that does not serve `model` at all is a `UserError`."""
    _check_model(url, model, policy)

    def ask(probe: Probe) -> Answered:
        try:
            answer = _answer(url, model, probe, policy)
        except UserError as error:
            return Answered(probe, str(error))
        return Answered(probe, probe.problem(answer))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return ProbeReport(tuple(pool.map(ask, probes)), policy)


def _check_model(url: str, model: str, policy: ProbePolicy) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            served = _request(f"{url}/models", None, policy).get("data") or []
            names = [str(entry.get("id")) for entry in served]
            if model in names:
                return
            raise UserError(f"{url} serves {', '.join(names) or 'nothing'}, not {model}")
        except UserError:
            if time.monotonic() > end:
                raise
        time.sleep(1)


def _answer(url: str, model: str, probe: Probe, policy: ProbePolicy) -> str:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": probe.question}],
        "max_tokens": probe.max_tokens,
        "temperature": 0,
        # vLLM's: tags that are special tokens would be dropped, and trace and answer run together.
        "skip_special_tokens": False,
    }
    found = _request(f"{url}/chat/completions", body, policy)
    try:
        choice = found["choices"][0]
        return answer_part(choice["message"], choice.get("finish_reason"))
    except (KeyError, IndexError, TypeError, AttributeError):
        raise UserError(f"{url} answered without a message") from None


def answer_part(message: dict[str, Any], finish: str | None) -> str:
    """What the user reads: without the trace, whether or not the server parts the two.

    A reply that was cut inside its trace has no answer.
    """
    content = str(message.get("content") or "")
    if message.get("reasoning") or message.get("reasoning_content"):
        return content
    for form in FORMATS.values():
        parsed = form.split(content)
        if parsed.closed:
            return parsed.answer
    opened = any(form.open_tag in content for form in FORMATS.values())
    return "" if opened or finish == "length" else content


def _request(url: str, body: dict[str, Any] | None, policy: ProbePolicy) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data, {"Content-Type": "application/json"})
    if token := os.environ.get(TOKEN_ENV):  # for this server, not for one that it points to
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with urlopen(request, timeout=policy.seconds) as answer:
            found = json.load(answer)
    except HTTPError as error:
        raise UserError(f"{url} answered {error.code}") from None
    except (URLError, HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(f"{url} cannot be asked ({type(reason).__name__})") from None
    if not isinstance(found, dict):
        raise UserError(f"{url} did not answer with an object")
    return found
