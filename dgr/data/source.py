"""The file that holds a data set: here, in a store, in the mirror or on the Hub."""

from pathlib import Path

from dgr.data.config import DataConfig
from dgr.errors import UserError
from dgr.published import Published, mirror
from dgr.storage import fetch_file
from dgr.tables import one_of, require

SUFFIXES = (".jsonl", ".json", ".parquet")


def locate(config: DataConfig) -> Path:
    """The local file that holds the rows; a Hub file comes from the mirror, else from the Hub."""
    if config.source.startswith("hub:"):
        return _mirrored(config) if mirror() else _download(config)
    path = fetch_file(config.source)
    if not path.exists():
        raise UserError(f"data.source: {path} does not exist; name a {one_of(SUFFIXES)} file")
    if not path.is_file() or path.suffix not in SUFFIXES:
        raise UserError(f"data.source: {path} is not a {one_of(SUFFIXES)} file")
    return path


def _mirrored(config: DataConfig) -> Path:
    if config.file is None:
        raise UserError(
            f"data.file: {config.source} comes from the mirror; name the file of the data set"
        )
    return Published(config.source, config.file, config.revision).fetch("data")


def _download(config: DataConfig) -> Path:
    """The wanted file of a Hub data set; what the Hub's cache holds needs no network."""
    require("huggingface_hub")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    name = config.source.removeprefix("hub:")
    wanted = [config.file] if config.file else [f"*{suffix}" for suffix in SUFFIXES]
    try:
        folder = Path(
            snapshot_download(
                name, repo_type="dataset", revision=config.revision, allow_patterns=wanted
            )
        )
    except (OSError, HFValidationError) as error:  # its HTTP errors are OSErrors
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"data set {name} cannot be fetched from the Hub ({reason}); check name and network, "
            "or download the file elsewhere and give its path as data.source"
        ) from None
    return choose_file(name, folder, config.file)


def choose_file(name: str, folder: Path, file: str | None) -> Path:
    """The named file of a downloaded data set, or the only one that can be read."""
    if file is not None:
        if not (folder / file).is_file() or Path(file).suffix not in SUFFIXES:
            raise UserError(f"data.file: data set {name} has no {one_of(SUFFIXES)} file {file}")
        return folder / file
    files = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix in SUFFIXES
    )
    if len(files) != 1:
        listed = f": {', '.join(files[:10])}" if files else ""
        raise UserError(
            f"data set {name} has {len(files)} {one_of(SUFFIXES)} files; "
            f"name one as data.file{listed}"
        )
    return folder / files[0]
