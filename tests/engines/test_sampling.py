import math

import pytest
import torch

from dgr.engines.base import Sampling
from dgr.engines.sampling import choose


def test_temperature_zero_takes_the_likeliest() -> None:
    logits = torch.tensor([[0.1, 3.0, -1.0], [2.0, 0.0, 1.9]])
    assert choose(logits, torch.rand(2), Sampling(temperature=0)).tolist() == [1, 0]


def test_frequencies_are_those_of_the_nucleus() -> None:
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
    sampling = Sampling(temperature=1.0, top_p=0.8)  # the first two tokens reach it
    uniforms = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    found = choose(probabilities.log().expand(10_000, -1), uniforms, sampling)
    counts = torch.bincount(found, minlength=4) / 10_000
    assert counts.tolist() == pytest.approx([0.625, 0.375, 0, 0], abs=1e-3)


def test_flat_distribution_beyond_the_first_look() -> None:
    logits = torch.zeros(1, 1_000)
    for uniform in (0.0, 0.5, 0.999999):
        token = choose(logits, torch.tensor([uniform]), Sampling(temperature=1.0, top_p=1.0))
        assert 0 <= token.item() < 1_000
    spread = choose(
        logits.expand(2_000, -1),
        torch.linspace(0, 0.9999, 2_000, dtype=torch.float64),
        Sampling(temperature=1.0, top_p=0.95),
    )
    assert len(set(spread.tolist())) == pytest.approx(950, abs=2)


def test_low_temperature_sharpens() -> None:
    logits = torch.tensor([[math.log(0.6), math.log(0.4)]])
    cold = choose(logits, torch.tensor([0.9]), Sampling(temperature=0.1, top_p=1.0))
    warm = choose(logits, torch.tensor([0.9]), Sampling(temperature=1.0, top_p=1.0))
    assert (cold.item(), warm.item()) == (0, 1)
