"""Choosing tokens: temperature, then nucleus (top-p), then the inverse of the distribution."""

import torch

from dgr.engines.base import Sampling

FIRST_LOOK = 128
"""Tokens of the vocabulary that are sorted first; all of them where these do not reach top-p."""


def choose(logits: torch.Tensor, uniforms: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """One token a row.

    `logits`: [rows, vocabulary]; `uniforms`: [rows] in [0, 1), one random number a row, by which
    the cumulative distribution of the nucleus (arXiv 1904.09751) is inverted. Temperature 0 is
    the likeliest token.
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    probabilities = torch.softmax(logits.float() / sampling.temperature, dim=-1)
    size = probabilities.shape[-1]
    top, tokens = probabilities.topk(min(FIRST_LOOK, size), dim=-1)
    mass = top.double().cumsum(-1)
    if top.shape[-1] < size and bool((mass[:, -1] < sampling.top_p).any()):
        top, tokens = probabilities.sort(dim=-1, descending=True)
        mass = top.double().cumsum(-1)
    # The nucleus is the fewest likeliest tokens that reach top-p: those before which it is unmet.
    kept = ((mass - top) < sampling.top_p).sum(-1, keepdim=True)
    total = mass.gather(-1, kept - 1)
    place = (mass <= uniforms[:, None] * total).sum(-1, keepdim=True)
    return tokens.gather(-1, torch.minimum(place, kept - 1))[:, 0]
