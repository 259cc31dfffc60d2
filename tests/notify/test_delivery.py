"""Deliveries to a real receiver: order, retries, stalls, the end of the process."""

import json
import os
import ssl
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import ValidationError

from dgr.errors import UserError
from dgr.notify import Event, EventKind, NotifyConfig, Target, flush, notify
from dgr.notify.messages import BODIES
from dgr.notify.posting import _seconds
from dgr.settings import parse_settings
from tests.notify.conftest import (
    HOOK,
    OTHER,
    SECRET,
    SIGNED,
    TOKEN,
    Answer,
    Receiver,
    event,
    hang_up,
    nonsense,
    serve,
    status,
    to,
)

ROOT = Path(__file__).parents[2]
STDERR = pytest.CaptureFixture[str]


def texts(receiver: Receiver) -> list[str]:
    return [json.loads(request.body)["text"] for request in receiver.requests]


def test_an_event_arrives_as_it_is(receiver: Receiver, capsys: STDERR) -> None:
    sent = Event(
        kind=EventKind.PROMOTED,
        run="nano",
        model="safe",
        version="3",
        digest="ab" * 32,
        text="Version 3 is the champion now — über alles geprüft.",
        actor="ada",
        details={"from": "2", "bound": 0.5, "nested": {"list": [1, None, True]}},
    )
    notify(to(HOOK), sent)
    assert flush(20) == 0
    [request] = receiver.requests
    assert Event.model_validate_json(request.body) == sent
    assert request.headers["content-type"] == "application/json"
    assert request.headers["x-dgr-event"] == "promoted"
    assert request.headers["x-dgr-delivery"] == sent.id
    assert "x-dgr-signature" not in request.headers
    assert datetime.fromisoformat(sent.time).utcoffset() == timedelta(0)
    assert capsys.readouterr().err == ""


def test_a_figure_that_is_no_number_is_null(receiver: Receiver) -> None:
    notify(to(HOOK), event().model_copy(update={"details": {"value": float("nan")}}))
    flush(20)
    body = json.loads(receiver.requests[0].body, parse_constant=pytest.fail)
    assert body["details"] == {"value": None}


def test_only_wanted_events_arrive(receiver: Receiver, other: Receiver) -> None:
    some = HOOK.model_copy(update={"events": (EventKind.FAILED, EventKind.ROLLED_BACK)})
    for kind in EventKind:
        notify(to(some, OTHER), event(kind=kind))
    flush(20)
    kinds = [request.headers["x-dgr-event"] for request in receiver.requests]
    assert kinds == ["rolled-back", "failed"]
    assert [request.headers["x-dgr-event"] for request in other.requests] == [*EventKind]


def test_order_is_kept_through_failures_and_nothing_is_lost(
    receiver: Receiver, capsys: STDERR
) -> None:
    receiver.answers.extend([status(204), status(503), hang_up, status(429)] * 3)
    sent = [f"number {number}" for number in range(12)]
    for text in sent:
        notify(to(HOOK), event(text))
    assert flush(20) == 0
    found = texts(receiver)
    assert list(dict.fromkeys(found)) == sent
    assert found == sorted(found, key=sent.index)
    ids = Counter(request.headers["x-dgr-delivery"] for request in receiver.requests)
    assert len(ids) == 12
    assert sum(ids.values()) == 12 + 9  # nine of the answers above ask for another attempt
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("answer", [status(500), status(503), status(429), hang_up, nonsense])
def test_what_may_pass_is_tried_again(receiver: Receiver, answer: Answer, capsys: STDERR) -> None:
    receiver.answers.extend([answer, answer])
    notify(to(HOOK), event())
    assert flush(20) == 0
    assert len(receiver.requests) == 3
    assert len({request.headers["x-dgr-delivery"] for request in receiver.requests}) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 413])
def test_a_refusal_is_final(receiver: Receiver, code: int, capsys: STDERR) -> None:
    receiver.answers.append(status(code))
    sent = event()
    notify(to(HOOK), sent)
    assert flush(20) == 0
    assert len(receiver.requests) == 1
    assert capsys.readouterr().err == (
        f"dgr: the event verdict ({sent.id}) was not delivered to the target in HOOK_URL: "
        f"HTTP {code} (1 attempt)\n"
    )


def test_attempts_are_bounded_and_the_next_event_still_goes(
    receiver: Receiver, capsys: STDERR
) -> None:
    target = HOOK.model_copy(update={"attempts": 3})
    receiver.answers.extend([status(503)] * 3)
    notify(to(target), event("lost"))
    notify(to(target), event("next"))
    assert flush(20) == 0
    assert texts(receiver) == ["lost", "lost", "lost", "next"]
    assert "HTTP 503 (3 attempts)" in capsys.readouterr().err


def test_retry_after_is_honoured(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own pause would be too long for this test."""
    monkeypatch.setattr("dgr.notify.posting.BACKOFF_SECONDS", 1_000.0)
    monkeypatch.setattr("dgr.notify.posting.LONGEST_PAUSE_SECONDS", 1_000.0)
    past = format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)
    receiver.answers.extend([status(429, Retry_After="0"), status(503, Retry_After=past)])
    notify(to(HOOK), event())
    assert flush(20) == 0
    assert len(receiver.requests) == 3


def test_retry_after_is_bounded(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dgr.notify.posting.LONGEST_PAUSE_SECONDS", 0.01)
    receiver.answers.append(status(429, Retry_After="86400"))
    notify(to(HOOK), event())
    assert flush(20) == 0
    assert len(receiver.requests) == 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0.0), (" 7 ", 7.0), ("", None), ("soon", None), ("-3", None), ("1.5", None), ("²", None),
     ("9" * 400, float("inf")), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
     ("Wed, 21 Oct 2015 07:28:00 -0000", 0.0)],
)  # fmt: skip
def test_retry_after_is_read(text: str, seconds: float | None) -> None:
    assert _seconds(text) == seconds


def test_a_retry_after_of_the_future_is_the_time_until_then() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert _seconds(later) == pytest.approx(3_600, abs=60)


def test_redirects_are_not_followed(receiver: Receiver, other: Receiver, capsys: STDERR) -> None:
    for code in (301, 302, 303, 307, 308):
        receiver.answers.append(status(code, Location=other.url))
        notify(to(SIGNED), event())
    assert flush(20) == 0
    assert len(receiver.requests) == 5
    assert other.requests == []
    assert capsys.readouterr().err.count("redirects, which is not followed") == 5


def test_a_stalled_receiver_blocks_neither_caller_nor_other_targets(
    receiver: Receiver, other: Receiver
) -> None:
    go_on, reached = threading.Event(), threading.Event()

    def stall(handler: object) -> None:
        reached.set()
        go_on.wait(60)
        status(204)(handler)  # type: ignore[arg-type]

    patient = HOOK.model_copy(update={"timeout_s": 60.0})
    receiver.answers.append(stall)
    try:
        notify(to(patient, OTHER), event("first"))
        notify(to(patient, OTHER), event("second"))
        assert reached.wait(20)
        assert flush(0.05) == 2
        assert texts(receiver) == ["first"]
        while len(other.requests) < 2:
            assert flush(0.01) == 2
    finally:
        go_on.set()
    assert flush(20) == 0
    assert texts(receiver) == texts(other) == ["first", "second"]


def test_a_receiver_that_does_not_answer_in_time_is_tried_again(
    receiver: Receiver, capsys: STDERR
) -> None:
    go_on = threading.Event()
    receiver.answers.extend([lambda _: go_on.wait(60) and None] * 2)  # type: ignore[arg-type]
    hasty = HOOK.model_copy(update={"timeout_s": 0.05, "attempts": 2})
    notify(to(hasty), event())
    assert flush(20) == 0
    go_on.set()
    assert len(receiver.requests) == 2
    assert "no answer within 0.05 s (2 attempts)" in capsys.readouterr().err


def test_too_many_waiting_events_are_told(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, capsys: STDERR
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr("dgr.notify.delivery.MOST_WAITING", 2)
    receiver.answers.append(lambda _: go_on.wait(60) and None)  # type: ignore[arg-type]
    for text in ("1", "2", "3"):
        notify(to(HOOK), event(text))
    go_on.set()
    assert flush(20) == 0
    assert set(texts(receiver)) == {"1", "2"}
    assert "2 others wait for it already" in capsys.readouterr().err


BAD_URLS = {
    "refused": f"http://127.0.0.1:9/{TOKEN}",
    "unknown": f"http://{TOKEN}.invalid/x",
    "scheme": f"ftp://127.0.0.1/{TOKEN}",
    "file": f"file:///etc/{TOKEN}",
    "text": TOKEN,
    "newline": f"http://127.0.0.1:9/{TOKEN}\nX-Evil: 1",
    "space": f"http://127.0.0.1:9/{TOKEN} x",
    "unicode": f"http://127.0.0.1:9/{TOKEN}ü",
    "port": f"http://127.0.0.1:{TOKEN}/",
    "far port": f"http://127.0.0.1:99999/{TOKEN}",
    "bracket": f"http://[{TOKEN}/",
    "user": f"http://user:{TOKEN}@127.0.0.1:9/",
    "no host": f"http:///{TOKEN}",
    "dots": f"http://{TOKEN}..x/",
    "unset": "",
}


SENT = {"refused", "unknown", "dots", "unset"}
"""What is no mistake of form."""


@pytest.mark.parametrize("kind", BAD_URLS)
def test_a_bad_url_neither_raises_nor_shows(
    kind: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOOK_URL", BAD_URLS[kind])
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    notify(to(SIGNED), event())
    assert flush(30) == 0
    seen = capfd.readouterr()
    assert seen.err.count("\n") == 1
    assert "was not delivered to the target in HOOK_URL: " in seen.err
    assert ("does not hold an http(s) URL" in seen.err) == (kind not in SENT)
    assert TOKEN.lower() not in (seen.out + seen.err + repr(SIGNED)).lower()


@pytest.mark.parametrize(
    "answer",
    [
        status(404, reason=f"/hooks/{TOKEN} is not here"),
        status(500, reason=f"/hooks/{TOKEN} failed"),
        status(302, Location=f"http://127.0.0.1:9/{TOKEN}"),
        hang_up,
        nonsense,
    ],
)
def test_what_a_receiver_repeats_is_not_shown(
    receiver: Receiver, answer: Answer, capfd: pytest.CaptureFixture[str]
) -> None:
    receiver.answers.extend([answer] * 4)
    notify(to(SIGNED), event())
    assert flush(20) == 0
    seen = capfd.readouterr()
    assert "was not delivered" in seen.err
    assert seen.err.count("\n") == 1
    for hidden in (TOKEN, SECRET, receiver.url):
        assert hidden not in seen.out + seen.err


def test_a_stranger_with_a_certificate_of_its_own_gets_nothing(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: STDERR
) -> None:
    for secure in serve(self_signed(tmp_path)):
        monkeypatch.setenv("HOOK_URL", secure.url)
        notify(to(HOOK), event())
        assert flush(20) == 0
        assert secure.requests == []
        assert "HOOK_URL: its certificate is not trusted (4 attempts)" in capsys.readouterr().err


def self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "pair.pem").write_bytes(
        key.private_bytes(pem, form, serialization.NoEncryption()) + certificate.public_bytes(pem)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pair.pem")
    return context


def test_without_its_key_nothing_is_sent(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, capsys: STDERR
) -> None:
    monkeypatch.delenv("HOOK_SECRET")
    notify(to(SIGNED), event())
    assert flush(20) == 0
    assert receiver.requests == []
    assert "HOOK_SECRET is not set" in capsys.readouterr().err


def test_an_error_that_nobody_foresaw_is_told_by_its_kind(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, capsys: STDERR
) -> None:
    """And the thread outlives it."""

    def surprise(*_: object) -> bytes:
        raise LookupError(receiver.url)

    with monkeypatch.context() as broken:
        broken.setitem(BODIES, "json", surprise)
        notify(to(HOOK), event("lost"))
        assert flush(20) == 0
    notify(to(HOOK), event("next"))
    assert flush(20) == 0
    assert texts(receiver) == ["next"]
    seen = capsys.readouterr().err
    assert "it could not be sent (LookupError)" in seen
    assert TOKEN not in seen


def test_no_thread_no_trouble(monkeypatch: pytest.MonkeyPatch, capsys: STDERR) -> None:
    def exhausted(_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", exhausted)
    notify(to(Target(url_env="NEVER_USED")), event())
    assert "no thread could be started" in capsys.readouterr().err


@pytest.mark.parametrize(
    "fields",
    [
        {"url_env": "https://hooks.example/T0KEN"},
        {"url_env": ""},
        {"url_env": "HOOK_URL", "url": "https://hooks.example"},
        {"url_env": "HOOK_URL", "secret_env": "a secret!"},
        {"url_env": "HOOK_URL", "format": "xml"},
        {"url_env": "HOOK_URL", "events": ["nothing"]},
        {"url_env": "HOOK_URL", "attempts": 0},
        {"url_env": "HOOK_URL", "timeout_s": 0},
    ],
)
def test_config_is_checked(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        NotifyConfig.model_validate({"targets": [fields]})


def test_a_url_in_the_place_of_its_name_is_told_and_not_shown() -> None:
    bad = {"targets": [{"url_env": f"https://hooks.example/{TOKEN}"}]}
    with pytest.raises(UserError, match="the name of an environment variable") as error:
        parse_settings(NotifyConfig, bad, "run.yaml")
    assert TOKEN not in str(error.value)


@pytest.mark.parametrize("bad", ["", "a\r\nX-Evil: 1", "a b", "ü", "x" * 101])
def test_an_id_fits_into_a_header(bad: str) -> None:
    with pytest.raises(ValidationError):
        Event(id=bad, kind=EventKind.FAILED, text="")


def in_process(code: str, url: str) -> "subprocess.CompletedProcess[str]":
    """A process of its own that notifies and ends."""
    head = (
        "import os, sys\n"
        "from dgr.notify import *\n"
        "from dgr.notify import delivery\n"
        "config = NotifyConfig(targets=(Target(url_env='HOOK_URL', timeout_s=60),))\n"
        "def tell(text): notify(config, Event(kind=EventKind.FAILED, text=text))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", head + code],
        env={**os.environ, "HOOK_URL": url, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_process_that_ends_delivers_first(receiver: Receiver) -> None:
    receiver.answers.append(status(503))
    for ending in ("", "sys.exit(3)", "raise SystemExit(3)"):
        done = in_process(f"tell('bye')\ntell('really')\n{ending}", receiver.url)
        assert done.returncode == (3 if ending else 0)
        assert done.stderr == ""
    assert texts(receiver) == ["bye", "bye", "really", *["bye", "really"] * 2]


def test_a_process_that_ends_waits_no_longer_than_the_bound(receiver: Receiver) -> None:
    go_on = threading.Event()
    receiver.answers.append(lambda _: go_on.wait(60) and None)  # type: ignore[arg-type]
    done = in_process("delivery.AT_EXIT_SECONDS = 0.2\ntell('1')\ntell('2')", receiver.url)
    go_on.set()
    assert done.returncode == 0
    assert done.stderr == (
        "dgr: 2 events for the target in HOOK_URL did not get through in the 0.2 s after the work "
        "had ended, and will not be sent again\n"
    )


def test_a_forked_child_delivers_its_own_events_alone(receiver: Receiver) -> None:
    code = (
        "tell('parent'); flush(20)\n"
        "if os.fork() == 0:\n"
        "    tell('child'); left = flush(20); os._exit(left)\n"
        "assert os.wait()[1] == 0\n"
    )
    assert in_process(code, receiver.url).returncode == 0
    assert texts(receiver) == ["parent", "child"]
