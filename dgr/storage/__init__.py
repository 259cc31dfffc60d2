"""One small interface over a folder and an S3-compatible store; the same keys in both."""

from dgr.storage.store import FolderStore, S3Store, Store, open_store

__all__ = ["FolderStore", "S3Store", "Store", "open_store"]
