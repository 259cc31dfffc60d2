"""A receiver tells our deliveries from others."""

import hashlib
import hmac
import time

import pytest

from dgr.notify import flush, notify, verify_signature
from dgr.notify.signatures import sign_body
from tests.notify.conftest import SECRET, SIGNED, Receiver, event, status, to


def test_a_receiver_verifies_what_it_got(receiver: Receiver) -> None:
    """By the description alone, and by the helper; a late attempt as well as the first."""
    receiver.answers.append(status(503))
    notify(to(SIGNED), event("über"))
    assert flush(20) == 0
    assert len(receiver.requests) == 2
    for request in receiver.requests:
        timestamp, signature = (
            request.headers["x-dgr-timestamp"],
            request.headers["x-dgr-signature"],
        )
        expected = hmac.new(
            SECRET.encode(), f"{timestamp}.".encode() + request.body, hashlib.sha256
        )
        assert signature == f"sha256={expected.hexdigest()}"
        assert verify_signature(request.body, timestamp, signature, SECRET)
        assert abs(time.time() - int(timestamp)) < 60


BODY, NOW = b'{"kind": "promoted"}', "1800000000"
SIGNATURE = sign_body(BODY, NOW, SECRET)


@pytest.mark.parametrize(
    ("body", "timestamp", "signature", "secret"),
    [
        (BODY.replace(b"promoted", b"rejected"), NOW, SIGNATURE, SECRET),
        (BODY + b" ", NOW, SIGNATURE, SECRET),
        (b"", NOW, SIGNATURE, SECRET),
        (BODY, str(int(NOW) + 1), SIGNATURE, SECRET),
        (BODY, "", SIGNATURE, SECRET),
        (BODY, "soon", SIGNATURE, SECRET),
        (BODY, NOW, SIGNATURE[:-1] + ("0" if SIGNATURE[-1] != "0" else "1"), SECRET),
        (BODY, NOW, SIGNATURE.removeprefix("sha256="), SECRET),
        (BODY, NOW, SIGNATURE.replace("sha256", "sha1"), SECRET),
        (BODY, NOW, "", SECRET),
        (BODY, NOW, "sha256=ü", SECRET),
        (BODY, NOW, SIGNATURE, "another secret"),
        (BODY, NOW, sign_body(BODY, NOW, ""), ""),
        (NOW.encode()[-1:] + b"." + BODY, NOW[:-1], SIGNATURE, SECRET),
    ],
)
def test_what_was_tampered_with_is_refused(
    body: bytes, timestamp: str, signature: str, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: float(NOW))
    assert verify_signature(BODY, NOW, SIGNATURE, SECRET)
    assert not verify_signature(body, timestamp, signature, secret)


@pytest.mark.parametrize("age", [-1_000, 1_000])
def test_a_stale_delivery_is_refused(age: int) -> None:
    timestamp = str(int(time.time()) - age)
    signature = sign_body(BODY, timestamp, SECRET)
    assert not verify_signature(BODY, timestamp, signature, SECRET)
    assert verify_signature(BODY, timestamp, signature, SECRET, max_age_s=2_000)
