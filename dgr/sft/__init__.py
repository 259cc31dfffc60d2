"""Supervised fine-tuning of the target on one arm's rows, the loss on the completion alone.

print(show_masks(config, model=model, arm=arm, rows=3))     # what will carry loss
train(config, model=model, arm=arm, out=out, seed=0)        # out/model, out/adapter
"""

from dgr.sft.config import LoraSettings, SftConfig
from dgr.sft.step import TrainStep, show_masks, train

__all__ = ["LoraSettings", "SftConfig", "TrainStep", "show_masks", "train"]
