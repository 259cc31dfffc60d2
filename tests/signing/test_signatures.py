"""What is signed, what is refused, and that the standard tool agrees."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import ValidationError

from dgr.errors import MissingExtra, UserError
from dgr.files import sha256_file
from dgr.signing import SIGNATURE, SigningConfig, sign, verify_digests, verify_folder
from dgr.signing.config import PASSWORD_ENV
from tests.signing.conftest import make_bundle, make_keys, pem

FILES = [
    ".gitattributes",
    "config.json",
    "manifest.json",
    "model.safetensors",
    "tokenizer/vocab ü.json",
]


def digests(bundle: Path) -> dict[str, str]:
    """What a store says that it holds."""
    return {
        path.relative_to(bundle).as_posix(): sha256_file(path)
        for path in bundle.rglob("*")
        if path.is_file() and path != bundle / SIGNATURE
    }


def signed(bundle: Path, config: SigningConfig) -> Path:
    assert sign(bundle, config) == bundle / SIGNATURE
    return bundle / SIGNATURE


def refused(bundle: Path, config: SigningConfig, match: str) -> None:
    """The folder and its digests are refused alike, in one line."""
    with pytest.raises(UserError, match=match) as folder:
        verify_folder(bundle, config)
    with pytest.raises(UserError, match=match):
        verify_digests((bundle / SIGNATURE).read_bytes(), digests(bundle), config, "s3://b/m")
    assert "\n" not in str(folder.value)
    assert str(bundle) in str(folder.value)


def tool(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """The standard command line."""
    command = [sys.executable, "-m", "model_signing", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def tool_verifies(bundle: Path, config: SigningConfig) -> bool:
    options = ["--signature", bundle / SIGNATURE, "--public_key", config.public_key]
    return tool("verify", "key", bundle, "--no-ignore-git-paths", *options).returncode == 0


def test_a_signed_bundle_verifies_by_files_and_by_digests(
    bundle: Path, config: SigningConfig
) -> None:
    path = signed(bundle, config)
    verify_folder(bundle, config)
    assert sorted(digests(bundle)) == FILES
    verify_digests(path.read_bytes(), digests(bundle), config, "s3://b/m")
    shutil.copytree(bundle, bundle.with_name("moved"))
    verify_folder(bundle.with_name("moved"), config)


def test_signing_again_signs_what_is_there_now(bundle: Path, config: SigningConfig) -> None:
    signed(bundle, config)
    (bundle / "config.json").write_text("{}")
    refused(bundle, config, "'config.json' was changed")
    signed(bundle, config)
    verify_folder(bundle, config)


@pytest.mark.parametrize("name", FILES)
def test_one_bit_in_any_file(bundle: Path, config: SigningConfig, name: str) -> None:
    signed(bundle, config)
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(data)
    refused(bundle, config, f"'{name}' was changed; do not use")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(bundle: Path, config: SigningConfig, name: str) -> None:
    signed(bundle, config)
    (bundle / name).unlink()
    refused(bundle, config, f"'{name}' is missing")


@pytest.mark.parametrize("name", ["evil.py", "tokenizer/evil.py", ".github/evil.yml", ".gitignore"])
def test_an_added_file(bundle: Path, config: SigningConfig, name: str) -> None:
    signed(bundle, config)
    (bundle / name).parent.mkdir(exist_ok=True)
    (bundle / name).write_text("")
    refused(bundle, config, f"'{name}' was added")


def test_a_renamed_file(bundle: Path, config: SigningConfig) -> None:
    signed(bundle, config)
    (bundle / "config.json").rename(bundle / "konfig.json")
    refused(bundle, config, r"'config\.json' is missing, 'konfig\.json' was added")


def test_swapped_files(bundle: Path, config: SigningConfig) -> None:
    signed(bundle, config)
    one, other = bundle / "config.json", bundle / "manifest.json"
    texts = one.read_text(), other.read_text()
    other.write_text(texts[0])
    one.write_text(texts[1])
    refused(bundle, config, r"'config\.json' was changed, 'manifest\.json' was changed")


def test_many_differences_stay_one_sentence(bundle: Path, config: SigningConfig) -> None:
    signed(bundle, config)
    for number in range(9):
        (bundle / f"{number}\x1b.py").write_text("")
    with pytest.raises(UserError, match="and 4 more") as error:
        verify_folder(bundle, config)
    assert str(error.value).isprintable()


def test_a_link_is_refused_even_to_the_same_content(bundle: Path, config: SigningConfig) -> None:
    signed(bundle, config)
    outside = bundle.parent / "outside.json"
    (bundle / "config.json").rename(outside)
    (bundle / "config.json").symlink_to(outside)
    with pytest.raises(UserError, match=r"cannot be verified: .*config\.json"):
        verify_folder(bundle, config)
    (bundle / SIGNATURE).unlink()
    with pytest.raises(UserError, match=r"cannot be signed: .*config\.json"):
        sign(bundle, config)
    assert not (bundle / SIGNATURE).exists()


def test_another_key(bundle: Path, config: SigningConfig, tmp_path: Path) -> None:
    signed(bundle, config)
    other = make_keys(tmp_path / "other")
    refused(bundle, other, "not made by the key of .*other")
    signed(bundle, other)
    refused(bundle, config, "not made by the key of .*keys")


def test_a_signature_that_claims_the_right_key(
    bundle: Path, config: SigningConfig, tmp_path: Path
) -> None:
    """Another's signature with our key's name on it."""
    hint = json.loads(signed(bundle, config).read_text())["verificationMaterial"]
    theirs = json.loads(signed(bundle, make_keys(tmp_path / "other")).read_text())
    (bundle / SIGNATURE).write_text(json.dumps({**theirs, "verificationMaterial": hint}))
    refused(bundle, config, "not made by the key of")
    theirs["verificationMaterial"]["publicKey"] = {}
    (bundle / SIGNATURE).write_text(json.dumps(theirs))
    refused(bundle, config, "not made by the key of")


def test_the_signature_of_another_bundle(
    bundle: Path, config: SigningConfig, tmp_path: Path
) -> None:
    signed(bundle, config)
    other = make_bundle(tmp_path / "other", weights=b"other weights")
    shutil.copy2(signed(other, config), bundle / SIGNATURE)
    refused(bundle, config, r"'model\.safetensors' was changed; do not use")


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"garbage",
        b"\xff\xfe\x00",
        b"null",
        b"[]",
        b"{}",
        b'{"verificationMaterial": {}}',
        b'{"verificationMaterial": null, "dsseEnvelope": 3}',
        b"[" * 100_000,
    ],
)
def test_garbage(bundle: Path, config: SigningConfig, garbage: bytes) -> None:
    (bundle / SIGNATURE).write_bytes(garbage)
    refused(bundle, config, "malformed")


def test_a_truncated_signature(bundle: Path, config: SigningConfig) -> None:
    path = signed(bundle, config)
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(len(whole) * share)])
        refused(bundle, config, "malformed")


def test_no_flipped_bit_of_a_signature_lets_other_files_in(
    bundle: Path, config: SigningConfig
) -> None:
    """Some bits say nothing (a key's name of JSON); none may crash, none may admit a change."""
    whole = signed(bundle, config).read_bytes()
    found = digests(bundle)
    changed = {**found, "model.safetensors": "0" * 64}
    told = 0
    for place in range(0, len(whole), 3):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 7
        with pytest.raises(UserError):
            verify_digests(bytes(flipped), changed, config, "it")
        try:
            verify_digests(bytes(flipped), found, config, "it")
        except UserError:
            told += 1
    assert told > 0.9 * len(whole) / 3


def test_a_folder_in_the_place_of_the_signature(bundle: Path, config: SigningConfig) -> None:
    """The library ignores what is below the signature's name; nothing may hide there."""
    whole = signed(bundle, config).read_bytes()
    (bundle / SIGNATURE).unlink()
    (bundle / SIGNATURE).mkdir()
    (bundle / SIGNATURE / "evil.py").write_text("")
    with pytest.raises(UserError, match="not signed"):
        verify_folder(bundle, config)
    with pytest.raises(UserError, match="cannot write"):
        sign(bundle, config)
    with pytest.raises(UserError, match=r"'model\.sig/evil\.py' was added"):
        verify_digests(whole, digests(bundle), config, "it")


def test_policy(bundle: Path, config: SigningConfig) -> None:
    """Absent or present, by required, key known, or neither."""
    optional = config.model_copy(update={"required": False})
    with pytest.raises(UserError, match=r"is not signed and signing\.required is set"):
        verify_folder(bundle, config)
    with pytest.raises(UserError, match="s3://b/m is not signed"):
        verify_digests(None, digests(bundle), config, "s3://b/m")
    for lenient in (optional, SigningConfig()):
        verify_folder(bundle, lenient)
        verify_digests(None, digests(bundle), lenient, "it")
    signed(bundle, config)
    (bundle / "config.json").write_text("changed")
    refused(bundle, optional, r"'config\.json' was changed")
    verify_folder(bundle, SigningConfig())
    verify_digests(b"garbage", {}, SigningConfig(), "it")


def test_no_key_signs_nothing(bundle: Path, config: SigningConfig) -> None:
    assert sign(bundle, SigningConfig(public_key=config.public_key)) is None
    assert not (bundle / SIGNATURE).exists()


def test_keys_that_are_no_pair_are_told_when_signing(
    bundle: Path, config: SigningConfig, tmp_path: Path
) -> None:
    other = make_keys(tmp_path / "other")
    mixed = config.model_copy(update={"public_key": other.public_key})
    with pytest.raises(UserError, match=r"the new signature of .* was not made by the key"):
        sign(bundle, mixed)
    assert not (bundle / SIGNATURE).exists()


def test_a_signature_appears_whole_or_not_at_all(
    bundle: Path, config: SigningConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(UserError, match="No space left"):
            sign(bundle, config)
    assert sorted(digests(bundle)) == FILES
    assert not (bundle / SIGNATURE).exists()


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_longer_curves(bundle: Path, tmp_path: Path, curve: ec.EllipticCurve) -> None:
    longer = make_keys(tmp_path / "longer", curve=curve)
    signed(bundle, longer)
    verify_folder(bundle, longer)
    assert tool_verifies(bundle, longer)


def test_a_locked_key(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = make_keys(tmp_path / "locked", password="correct horse")
    with pytest.raises(UserError, match=r"key\.pem cannot be used: .*DGR_SIGNING_PASSWORD"):
        sign(bundle, locked)
    monkeypatch.setenv(PASSWORD_ENV, "wrong-word")
    with pytest.raises(UserError, match="Incorrect password") as error:
        sign(bundle, locked)
    assert "wrong-word" not in str(error.value)
    assert not (bundle / SIGNATURE).exists()
    monkeypatch.setenv(PASSWORD_ENV, "correct horse")
    signed(bundle, locked)
    verify_folder(bundle, locked)


def test_a_password_for_an_open_key(
    bundle: Path, config: SigningConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD_ENV, "secret-word")
    with pytest.raises(UserError, match="is not encrypted") as error:
        sign(bundle, config)
    assert "secret-word" not in str(error.value)


def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda: None, "No such file"),
        (lambda: b"no key", ""),
        (lambda: b"\xff\x00", ""),
        (lambda: b"", ""),
        (lambda: pem(rsa_key()), "no elliptic-curve key"),
        (lambda: pem(ec.generate_private_key(ec.SECP256K1())), "secp256k1"),
    ],
    ids=["absent", "text", "bytes", "empty", "rsa", "curve"],
)
def test_what_is_no_key_is_told(
    bundle: Path,
    config: SigningConfig,
    tmp_path: Path,
    content: Callable[[], tuple[bytes, bytes] | bytes | None],
    reason: str,
) -> None:
    private, public = tmp_path / "made.pem", tmp_path / "made.pub"
    found = content()
    if found is not None:
        pair = found if isinstance(found, tuple) else (found, found)
        private.write_bytes(pair[0])
        public.write_bytes(pair[1])
    with pytest.raises(UserError, match=rf"the private key .*made\.pem cannot be used: .*{reason}"):
        sign(bundle, config.model_copy(update={"private_key": str(private)}))
    signed(bundle, config)
    with pytest.raises(UserError, match=rf"the public key .*made\.pub cannot be used: .*{reason}"):
        verify_folder(bundle, config.model_copy(update={"public_key": public}))


def test_what_is_no_folder_is_told(tmp_path: Path, config: SigningConfig) -> None:
    with pytest.raises(UserError, match="gone is not a folder"):
        sign(tmp_path / "gone", config)
    with pytest.raises(UserError, match="gone is not a folder"):
        verify_folder(tmp_path / "gone", config)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"required": True}, "need a public_key"),
        ({"private_key": "pkcs11:token=t;object=k?pin-value=1234"}, "DGR_SIGNING_PASSWORD"),
        ({"password": "x"}, "Extra inputs"),
    ],
)
def test_config_is_checked(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        SigningConfig.model_validate(fields)


def test_without_the_library_the_extra_is_named(
    bundle: Path, config: SigningConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "model_signing", None)
    assert sign(bundle, SigningConfig()) is None
    verify_folder(bundle, SigningConfig())
    with pytest.raises(MissingExtra, match=r"dgr\[sign\]"):
        sign(bundle, config)
    with pytest.raises(MissingExtra, match=r"dgr\[sign\]"):
        verify_digests(b"{}", {}, config, "it")


def test_importing_the_package_imports_no_library() -> None:
    code = (
        "import sys, dgr.signing; assert not {'model_signing', 'cryptography'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_standard_tool_verifies_what_we_sign(bundle: Path, config: SigningConfig) -> None:
    signed(bundle, config)
    assert tool_verifies(bundle, config)
    (bundle / ".gitattributes").unlink()
    signed(bundle, config)
    options = ["--signature", bundle / SIGNATURE, "--public_key", config.public_key]
    assert tool("verify", "key", bundle, *options).returncode == 0  # with its defaults
    (bundle / "model.safetensors").write_bytes(b"other")
    assert tool("verify", "key", bundle, *options).returncode == 1


def tool_signs(bundle: Path, config: SigningConfig, *more: object) -> None:
    options = ["--signature", bundle / SIGNATURE, "--private_key", config.private_key, *more]
    done = tool("sign", "key", bundle, *options)
    assert done.returncode == 0, done.stderr


def test_we_verify_what_the_standard_tool_signs(bundle: Path, config: SigningConfig) -> None:
    tool_signs(bundle, config, "--no-ignore-git-paths")
    verify_folder(bundle, config)
    verify_digests((bundle / SIGNATURE).read_bytes(), digests(bundle), config, "it")
    (bundle / "config.json").write_text("changed")
    refused(bundle, config, r"'config\.json' was changed")


def test_what_the_standard_tool_was_told_to_ignore_is_not_signed(
    bundle: Path, config: SigningConfig
) -> None:
    tool_signs(bundle, config, "--ignore-paths", bundle / "model.safetensors")
    refused(bundle, config, r"'\.gitattributes' was added, 'model\.safetensors' was added")


@pytest.mark.parametrize("change", ["nothing", "edit", "remove", "add", "rename", "link"])
def test_we_say_what_the_standard_tool_says(
    bundle: Path, config: SigningConfig, change: str
) -> None:
    signed(bundle, config)
    path = bundle / "tokenizer" / "vocab ü.json"
    if change == "edit":
        path.write_text("[]")
    elif change == "remove":
        path.unlink()
    elif change == "add":
        (bundle / "tokenizer" / "more").write_text("")
    elif change == "rename":
        path.rename(path.with_name("other"))
    elif change == "link":
        (bundle / "link").symlink_to("config.json")
    try:
        verify_folder(bundle, config)
        verdict = True
    except UserError:
        verdict = False
    assert verdict == tool_verifies(bundle, config) == (change == "nothing")


@pytest.mark.parametrize("method", ["shards", "blake3"])
def test_lists_of_another_kind_are_told(bundle: Path, config: SigningConfig, method: str) -> None:
    from model_signing import hashing, signing

    how = hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)
    if method == "shards":
        how.use_shard_serialization(shard_size=1_000)
    else:
        how.use_file_serialization(hashing_algorithm="blake3")
    signer = signing.Config().use_elliptic_key_signer(private_key=config.private_key)
    signer.set_hashing_config(how).sign(bundle, bundle / SIGNATURE)
    refused(bundle, config, "does not list the SHA-256 of whole files")
