"""Signatures of deliveries, by which a receiver knows that one is ours, unchanged and fresh."""

import hashlib
import hmac
import time

MAX_AGE_SECONDS = 300.0


def sign_body(body: bytes, timestamp: str, secret: str) -> str:
    """What `X-DGR-Signature` holds: HMAC-SHA256 over the timestamp, a dot, and the body."""
    signed = timestamp.encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def verify_signature(
    body: bytes, timestamp: str, signature: str, secret: str, max_age_s: float = MAX_AGE_SECONDS
) -> bool:
    """Whether a delivery was signed with `secret` and is not older than `max_age_s`.

    For receivers: `body` is the request's bytes as they came, `timestamp` and `signature` are its
    X-DGR-Timestamp and X-DGR-Signature. A timestamp of the future is refused as an old one is.
    """
    if not secret:  # anybody can sign with an empty key
        return False
    expected = sign_body(body, timestamp, secret)
    # As bytes: the text comparison raises on what is not ASCII.
    if not hmac.compare_digest(expected.encode(), signature.encode()):
        return False
    # Only now: it is ours, so it is a number.
    return abs(time.time() - int(timestamp)) <= max_age_s
