"""Keys that are made for the test, and a bundle like a registered model's."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from dgr.signing import SigningConfig
from dgr.signing.config import PASSWORD_ENV


@pytest.fixture(autouse=True)
def no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD_ENV, raising=False)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle")


@pytest.fixture
def config(tmp_path: Path) -> SigningConfig:
    return make_keys(tmp_path / "keys")


def make_bundle(folder: Path, weights: bytes = bytes(range(256)) * 40) -> Path:
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer" / "vocab ü.json").write_text("{}")
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs")
    (folder / "manifest.json").write_text('{"files": {}}')
    return folder


def make_keys(
    folder: Path, password: str = "", curve: ec.EllipticCurve | None = None
) -> SigningConfig:
    """A config that requires the signature of its own new pair of keys."""
    folder.mkdir(parents=True)
    private, public = pem(ec.generate_private_key(curve or ec.SECP256R1()), password)
    (folder / "key.pem").write_bytes(private)
    (folder / "key.pub").write_bytes(public)
    return SigningConfig(
        private_key=str(folder / "key.pem"), public_key=folder / "key.pub", required=True
    )


def pem(key: PrivateKeyTypes, password: str = "") -> tuple[bytes, bytes]:
    """The private and the public half, as files hold them."""
    lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        lock = serialization.BestAvailableEncryption(password.encode())
    encoding = serialization.Encoding.PEM
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    return (
        key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, lock),
        key.public_key().public_bytes(encoding, public),
    )
