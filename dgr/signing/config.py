"""The config of signing model bundles."""

from pathlib import Path

from pydantic import field_validator, model_validator

from dgr.settings import Settings

PKCS11 = "pkcs11:"
PASSWORD_ENV = "DGR_SIGNING_PASSWORD"
"""Environment variable with the password of the private key, or the PIN of its token."""


class SigningConfig(Settings):
    """Which key signs a bundle, and which key a bundle must be signed by."""

    private_key: str | None = None
    """A PEM file with an EC key (P-256, P-384 or P-521), or a `pkcs11:` URI; None: bundles are
    not signed. Its password or PIN comes from DGR_SIGNING_PASSWORD alone."""
    public_key: Path | None = None
    """A PEM file with the public key that signatures are checked with; None: not checked."""
    required: bool = False
    """Refuse a bundle that is not signed by this key."""

    @field_validator("private_key")
    @classmethod
    def _holds_no_pin(cls, private_key: str | None) -> str | None:
        # A config is written into manifests and into MLflow.
        if private_key and private_key.startswith(PKCS11) and "pin-value" in private_key:
            raise ValueError(f"a PIN is no part of a config; leave it to {PASSWORD_ENV}")
        return private_key

    @model_validator(mode="after")
    def _required_has_a_key(self) -> "SigningConfig":
        if self.required and self.public_key is None:
            raise ValueError("required signatures need a public_key to check them with")
        return self
