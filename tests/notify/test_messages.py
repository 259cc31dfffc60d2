"""Bodies for Slack-compatible webhooks."""

import json
import re
from typing import Any

import pytest

from dgr.notify import Event, EventKind, flush, notify
from dgr.notify.messages import as_slack
from tests.notify.conftest import HOOK, Receiver, to

EVIL = "<!channel> <https://evil.example|click> <@U123> & &lt; @here https://evil.example *bold*"


def strings(value: Any) -> list[str]:
    """Every text that Slack would show."""
    if isinstance(value, dict):
        return [text for key, item in value.items() if key != "type" for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def markdown(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        inner = [found for item in value.values() for found in markdown(item)]
        return [value, *inner] if value.get("type") == "mrkdwn" else inner
    return [found for item in value for found in markdown(item)] if isinstance(value, list) else []


def test_a_message_tells_the_event(receiver: Receiver) -> None:
    slack = HOOK.model_copy(update={"format": "slack"})
    sent = Event(
        kind=EventKind.ROLLED_BACK,
        model="safe",
        version="2",
        digest="abc",
        text="Back to 2.",
        actor="ada",
        details={"from": 3, "why": "it refused harmless requests"},
    )
    notify(to(slack), sent)
    assert flush(20) == 0
    [request] = receiver.requests
    message = json.loads(request.body)
    assert message["text"] == "rolled-back: safe version 2: Back to 2."
    head, facts = message["blocks"]
    assert head["text"]["text"] == "*rolled-back: safe version 2*\nBack to 2."
    assert [field["text"] for field in facts["fields"]] == [
        "*digest*\nabc",
        "*by*\nada",
        f"*time*\n{sent.time}",
        "*from*\n3",
        "*why*\nit refused harmless requests",
    ]


@pytest.mark.parametrize("part", ["run", "model", "version", "digest", "text", "actor", "time"])
def test_no_text_makes_a_link_or_a_mention(part: str) -> None:
    event = Event.model_validate({"kind": "failed", "text": "x", part: EVIL})
    message = json.loads(as_slack(event))
    shown = strings(message)
    assert any("&lt;!channel&gt;" in text and "&amp; &amp;lt;" in text for text in shown)
    assert not any("<" in text or ">" in text for text in shown)
    assert all(text["verbatim"] for text in markdown(message))


def test_details_are_escaped_names_and_all() -> None:
    event = Event(kind=EventKind.FAILED, text="x", details={EVIL: {"<!here>": ["<@U1>"]}})
    message = json.loads(as_slack(event))
    assert not any("<" in text or ">" in text for text in strings(message))
    assert "&lt;!here&gt;" in message["blocks"][1]["fields"][-1]["text"]


@pytest.mark.parametrize("sign", ["&", "<", ";", "x"])
def test_slack_limits_are_kept(sign: str) -> None:
    """And no entity is cut in half."""
    details = {f"{sign * 600}{number}": sign * 9_000 for number in range(30)}
    event = Event.model_validate({"kind": "failed", "text": sign * 9_000, "details": details})
    message = json.loads(as_slack(event))
    assert len(message["blocks"][1]["fields"]) == 10
    limits = [(message["blocks"][0]["text"], 3_000)]
    assert message["blocks"][0]["text"]["text"].endswith("…")
    limits += [(field, 2_000) for field in message["blocks"][1]["fields"]]
    for text, limit in limits:
        assert len(text["text"]) <= limit
        assert "&" not in re.sub("&(amp|lt|gt);", "", text["text"])


def test_an_event_without_anything_but_its_sentence() -> None:
    message = json.loads(as_slack(Event(kind=EventKind.FAILED, text="It broke.")))
    assert message["text"] == "failed: It broke."
