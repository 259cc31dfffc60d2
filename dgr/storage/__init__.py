"""One small interface over a folder and an S3-compatible store; the same keys in both.

store = open_store("s3://bucket/prefix")        # or a folder
store.put_folder(Path("out"), "evaluate/dgr")
store.read_text("evaluate/dgr/summary.json")
"""

from dgr.storage.fetch import cache_folder, fetch_file, file_digest
from dgr.storage.store import Store, open_store

__all__ = ["Store", "cache_folder", "fetch_file", "file_digest", "open_store"]
