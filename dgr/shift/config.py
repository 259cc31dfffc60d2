"""Config of the measures of distribution shift (before training) and drift (after it)."""

from pydantic import Field

from dgr.settings import Settings


class EmbeddingConfig(Settings):
    """Distances between sentence embeddings of two completions of one prompt."""

    encoder: str = "minilm"
    """`minilm` (all-MiniLM-L6-v2, from a package), `none`, or a local folder of a
    sentence-transformers model."""
    max_rows: int | None = Field(default=200, ge=1)
    """Most prompts (of each kind, for drift) whose completions are embedded, drawn by the seed;
    None: all."""
    batch_size: int = Field(default=32, ge=1)
    """Chunks of text a forward pass of the encoder."""


class KlConfig(Settings):
    """KL(tuned || base) along the base model's own traces on reasoning questions."""

    max_items: int | None = Field(default=200, ge=0)
    """Most questions, drawn by the seed; None: all, 0: do not measure."""


class ShiftConfig(Settings):
    """Shift of training sets under the base model, and drift of tuned models from it."""

    max_rows: int | None = Field(default=1_000, ge=1)
    """Most rows of the data set that are scored, drawn by the seed; None: all."""
    histogram_bins: int = Field(default=20, ge=1, le=200)
    """Bins of each length histogram, equal in width from zero to the longest."""
    embedding: EmbeddingConfig = EmbeddingConfig()
    kl: KlConfig = KlConfig()
