"""Optimizers, schedules, clipping and weight averaging, written by hand."""

from .clip import clip_norm, clip_value
from .ema import EMA
from .optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from .schedules import Cosine, Plateau, StepDecay, Warmup

__all__ = ["EMA", "SGD", "Adam", "AdamW", "Cosine", "Optimizer", "Plateau", "RMSprop", "StepDecay", "Warmup",
           "clip_norm", "clip_value"]
