"""Layers, written by hand."""

from . import init
from .attention import KeyValueCache, SelfAttention
from .block import Block
from .layers import (
    GELU,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    LeakyReLU,
    ReLU,
    Reshape,
    Sequential,
    Sigmoid,
    Tanh,
)
from .module import Module
from .norm import BatchNorm, LayerNorm

__all__ = ["GELU", "BatchNorm", "Block", "Dense", "Dropout", "Embedding", "Flatten", "KeyValueCache", "LayerNorm",
           "LeakyReLU", "Module", "ReLU", "Reshape", "SelfAttention", "Sequential", "Sigmoid", "Tanh", "init"]
