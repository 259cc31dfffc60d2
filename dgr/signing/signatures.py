"""Signing a bundle, and verifying one by its files or by their digests alone."""

import importlib.util
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dgr.errors import MissingExtra, UserError
from dgr.files import write_bytes
from dgr.signing.config import PASSWORD_ENV, PKCS11, SigningConfig

SIGNATURE = "model.sig"
"""The signature, beside the files that it signs."""
_NAMED = 5
"""How many differing files a sentence names."""


def sign(bundle: Path, config: SigningConfig) -> Path | None:
    """Sign every file of a folder; `model.sig` appears in it whole or not at all.

    None when the config has no private key. With a public key in the config the signature is
    checked by it first, so that two keys which are no pair are told here and not to the reader.
    """
    if config.private_key is None:
        return None
    _require_library()
    if not bundle.is_dir():
        raise UserError(f"{bundle} is not a folder; only a bundle's folder can be signed")
    signer = _signer(config.private_key)
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / SIGNATURE
        try:
            signer.set_hashing_config(_every_file()).sign(bundle, made)
        except Exception as error:  # of hashing, of cryptography, or of the token
            raise UserError(f"{bundle} cannot be signed: {_reason(error)}") from None
        signature = made.read_bytes()
    if config.public_key:
        _verified(signature, config.public_key, f"the new signature of {bundle}")
    write_bytes(bundle / SIGNATURE, signature)
    return bundle / SIGNATURE


def verify_digests(
    signature: bytes | None, digests: Mapping[str, str], config: SigningConfig, where: str
) -> None:
    """Check a bundle by its signature and by the digests of what its store really holds.

    `signature` is the content of `model.sig` (None: there is none), `digests` maps the relative
    name of every other file to its SHA-256, `where` names the bundle in errors. Raises
    `UserError` when a file was changed, is missing or was added, when another key signed, when
    the signature cannot be read, and when the config requires one and there is none. Without a
    public key nothing can be checked and nothing is.
    """
    signed = _signed_files(signature, config, where)
    if signed is not None:
        _compare(signed, digests, where)


def verify_folder(bundle: Path, config: SigningConfig) -> None:
    """The same for a folder on this machine: what `model_signing verify key` says of it."""
    if not bundle.is_dir():
        raise UserError(f"{bundle} is not a folder")
    path = bundle / SIGNATURE
    signed = _signed_files(path.read_bytes() if path.is_file() else None, config, str(bundle))
    if signed is not None:
        _compare(signed, _digests(bundle), str(bundle))


def _signed_files(
    signature: bytes | None, config: SigningConfig, where: str
) -> dict[str, str] | None:
    """What the signature lists; None where the config leaves nothing to check."""
    if signature is None:
        if config.required:
            raise UserError(
                f"{where} is not signed and signing.required is set; "
                "register it again with signing.private_key"
            )
        return None
    if config.public_key is None:
        return None
    manifest = _verified(signature, config.public_key, where)
    files = {item.identifier: item.digest for item in manifest.resource_descriptors()}
    whole = manifest.serialization_type["method"] == "files"
    if not whole or any(digest.algorithm != "sha256" for digest in files.values()):
        raise UserError(
            f"{where}: {SIGNATURE} does not list the SHA-256 of whole files; "
            "sign it again with model_signing's defaults"
        )
    return {name: digest.digest_hex for name, digest in files.items()}


def _compare(signed: Mapping[str, str], found: Mapping[str, str], where: str) -> None:
    common = signed.keys() & found.keys()
    differences = [
        *(f"{name!r} was changed" for name in sorted(common) if signed[name] != found[name]),
        *(f"{name!r} is missing" for name in sorted(signed.keys() - common)),
        *(f"{name!r} was added" for name in sorted(found.keys() - common)),
    ]
    if differences:
        told = ", ".join(differences[:_NAMED])
        more = f" and {len(differences) - _NAMED} more" if len(differences) > _NAMED else ""
        raise UserError(f"{where} is not what was signed: {told}{more}; do not use it")


def _verified(signature: bytes, public_key: Path, where: str) -> Any:
    """The manifest (files and digests) that a valid signature was made over.

    The library's public API verifies folders alone, and a bundle in a store is not worth a
    download. So this one function reaches below it; pyproject pins the library exactly.
    """
    _require_library()
    from cryptography.exceptions import InvalidSignature
    from model_signing._signing import sign_ec_key, sign_sigstore_pb

    try:
        verifier = sign_ec_key.Verifier(public_key)
    except Exception as error:  # each backend of cryptography has its own
        raise _no_key("public key", str(public_key), error) from None
    malformed = UserError(f"{where}: {SIGNATURE} is malformed; get the bundle again")
    foreign = UserError(
        f"{where}: the signature was not made by the key of {public_key}, or it was changed; "
        "do not use the bundle unless you trust its signer"
    )
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / SIGNATURE
        path.write_bytes(signature)
        try:
            parsed = sign_sigstore_pb.Signature.read(path)
        except Exception:  # of JSON, base64, pydantic, or a missing key
            raise malformed from None
    try:
        with redirect_stdout(sys.stderr):  # it prints a warning of old signatures
            return verifier.verify(parsed)
    except InvalidSignature:
        raise foreign from None
    except Exception as error:  # what is inside may be anything until the key vouches for it
        raise (foreign if "Key mismatch" in str(error) else malformed) from None


def _digests(bundle: Path) -> dict[str, str]:
    """The library's own view of a folder; it refuses what is no plain file, such as links."""
    try:
        manifest = _every_file().hash(bundle)
    except (ValueError, OSError) as error:
        raise UserError(f"{bundle} cannot be verified: {_reason(error)}") from None
    return {item.identifier: item.digest.digest_hex for item in manifest.resource_descriptors()}


def _every_file() -> Any:
    """SHA-256 of each file but the signature; the library would leave out git's files too."""
    from model_signing import hashing

    return hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)


def _signer(private_key: str) -> Any:
    """The library's signer with its key loaded."""
    from model_signing import signing

    password = os.environ.get(PASSWORD_ENV, "")
    config: Any = signing.Config()
    try:
        if private_key.startswith(PKCS11):
            _require_pkcs11()
            return config.use_pkcs11_signer(pkcs11_uri=_with_pin(private_key, password))
        # It is annotated as text, but cryptography takes bytes alone.
        return config.use_elliptic_key_signer(
            private_key=private_key, password=password.encode() or None
        )
    except UserError:
        raise
    except Exception as error:  # each backend of cryptography and each token has its own
        raise _no_key("private key", private_key, error) from None


def _with_pin(uri: str, pin: str) -> str:
    if not pin:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}pin-value={quote(pin, safe='')}"


def _no_key(what: str, name: str, error: Exception) -> UserError:
    kind = "no elliptic-curve key" if isinstance(error, AttributeError) else _reason(error)
    password = f", with its password or PIN in {PASSWORD_ENV}" if what == "private key" else ""
    return UserError(
        f"the {what} {name} cannot be used: {kind}; "
        f"name an EC key on P-256, P-384 or P-521{password}"
    )


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:300].rstrip(".") or type(error).__name__


def _require_library() -> None:
    try:
        import model_signing  # noqa: F401
    except ImportError:
        raise MissingExtra("model-signing", "sign") from None


def _require_pkcs11() -> None:
    """Not part of an extra: its licence is the GPL, so it is the user's to install."""
    if importlib.util.find_spec("PyKCS11") is None:
        raise UserError(
            "a pkcs11: key needs PyKCS11, which is not installed; "
            "install it with: pip install PyKCS11"
        )
