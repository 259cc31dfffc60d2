"""A key in a token (SoftHSM) that never leaves it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest
from cryptography.hazmat.primitives import serialization

from dgr.errors import UserError
from dgr.signing import SIGNATURE, SigningConfig, sign, verify_folder
from dgr.signing.config import PASSWORD_ENV

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "4321 &=%"


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SigningConfig]:
    """A new token with an EC key. One for all tests: the module reads its config once."""
    pytest.importorskip("PyKCS11", reason="PyKCS11 is not installed (pip install PyKCS11)")
    for program in ("softhsm2-util", "pkcs11-tool"):
        if which(program) is None or not MODULE.is_file():
            pytest.skip(f"{program} is not installed (apt-get install softhsm2 opensc)")
    folder = tmp_path_factory.mktemp("token")
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}\n")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))
        yield SigningConfig(
            private_key=f"pkcs11:token=dgr;object=release?module-path={MODULE}",
            public_key=make_token(folder),
            required=True,
        )


def make_token(folder: Path) -> Path:
    """A token `dgr` with the key `release`; the file of its public key."""
    pins = ["--so-pin", "98765", "--pin", PIN]
    run("softhsm2-util", "--init-token", "--free", "--label", "dgr", *pins)
    tool = ["pkcs11-tool", "--module", str(MODULE), "--token-label", "dgr", "--label", "release"]
    run(*tool, "--login", "--pin", PIN, "--keypairgen", "--key-type", "EC:prime256v1")
    run(*tool, "--read-object", "--type", "pubkey", "-o", str(folder / "release.der"))
    key = serialization.load_der_public_key((folder / "release.der").read_bytes())
    public = folder / "release.pub"
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_bytes(serialization.Encoding.PEM, form))
    return public


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def test_a_key_in_a_token_signs(
    bundle: Path, token: SigningConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD_ENV, "4321")
    with pytest.raises(UserError, match=r"the private key pkcs11:.*CKR_PIN_INCORRECT"):
        sign(bundle, token)
    monkeypatch.setenv(PASSWORD_ENV, PIN)
    assert sign(bundle, token) == bundle / SIGNATURE
    verify_folder(bundle, token)
    (bundle / "config.json").write_text("changed")
    with pytest.raises(UserError, match=r"'config\.json' was changed"):
        verify_folder(bundle, token)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("pkcs11:token=other;object=release?module-path={}", "token with label other"),
        ("pkcs11:token=dgr;object=other?module-path={}", "any object with label other"),
        ("pkcs11:token=dgr;object=release?module-path=/gone.so", "cannot be used"),
        ("pkcs11:token", "malformed path attribute"),
    ],
)
def test_what_the_token_lacks_is_told(
    bundle: Path, token: SigningConfig, monkeypatch: pytest.MonkeyPatch, uri: str, reason: str
) -> None:
    monkeypatch.setenv(PASSWORD_ENV, PIN)
    wrong = token.model_copy(update={"private_key": uri.format(MODULE)})
    with pytest.raises(UserError, match=reason) as error:
        sign(bundle, wrong)
    assert "4321" not in str(error.value)
    assert not (bundle / SIGNATURE).exists()


def test_the_missing_package_is_named(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install PyKCS11"):
        sign(bundle, SigningConfig(private_key="pkcs11:token=dgr;object=release"))
