"""Signatures of model bundles, in the format of the `model_signing` tool.

sign(bundle, config)                                     # writes model.sig into the folder
verify_folder(bundle, config)                            # a folder on this machine
verify_digests(signature, digests, config, where=uri)    # a bundle in a store, not downloaded
"""

from dgr.signing.config import SigningConfig
from dgr.signing.signatures import SIGNATURE, sign, verify_digests, verify_folder

__all__ = ["SIGNATURE", "SigningConfig", "sign", "verify_digests", "verify_folder"]
