"""Data: MNIST or a user's own images, scaled for a network and cut into batches.

>>> images, labels = mnist("train")                      # doctest: +SKIP
>>> x = to_unit(images)                                  # doctest: +SKIP
>>> loader = Loader(len(x), batch_size=64, seed=0)       # doctest: +SKIP
>>> for indices in loader.epoch(0):                      # doctest: +SKIP
...     batch = x[indices]
"""

from minigen.data.augment import Elastic, Flip, Noise, Rotate, Scale, Shear, Shift
from minigen.data.clean import Clean, CleaningReport
from minigen.data.dataset import Dataset
from minigen.data.files import load_images, load_raw
from minigen.data.idx import read_idx
from minigen.data.loader import Loader, permutation
from minigen.data.mnist import load_mnist, mnist
from minigen.data.pipeline import Binarise, Normalise, Pipeline
from minigen.data.sentences import SentenceDataset, pack, sentences, split_sentences
from minigen.data.text import RawText, TextDataset, load_text, read_text, split_text, text_parts
from minigen.data.tokenizer import BytePairTokenizer, CharacterTokenizer, Tokenizer, tokenizer_from
from minigen.data.transforms import (
    binarise_dynamic,
    binarise_static,
    to_symmetric,
    to_unit,
)

__all__ = [
    "Binarise",
    "BytePairTokenizer",
    "CharacterTokenizer",
    "Clean",
    "CleaningReport",
    "Dataset",
    "Elastic",
    "Flip",
    "Loader",
    "Noise",
    "Normalise",
    "Pipeline",
    "RawText",
    "Rotate",
    "Scale",
    "SentenceDataset",
    "Shear",
    "Shift",
    "TextDataset",
    "Tokenizer",
    "binarise_dynamic",
    "binarise_static",
    "load_images",
    "load_mnist",
    "load_raw",
    "load_text",
    "mnist",
    "pack",
    "permutation",
    "read_idx",
    "read_text",
    "sentences",
    "split_sentences",
    "split_text",
    "text_parts",
    "to_symmetric",
    "to_unit",
    "tokenizer_from",
]
