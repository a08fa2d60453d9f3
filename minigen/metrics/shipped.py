"""The feature net of MNIST that comes with minigen, checked before it is believed.

Made by `minigen features --out minigen/metrics/mnist.safetensors` on the full set: the file's own metadata name the
SHA-256 of the images it was trained on.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from ..errors import CheckpointError
from .classifier import Classifier, load_classifier

__all__ = ["MNIST_FILE", "MNIST_SHA256", "mnist_classifier"]

MNIST_FILE = Path(__file__).with_name("mnist.safetensors")
MNIST_SHA256 = "a605903300e26b074b9ce7c1803c8fff5bdc039796fbfa17a6caded2ba8f7292"


@functools.cache
def mnist_classifier() -> Classifier:
    """Loaded at the first call; CheckpointError where the file is not the one that was shipped."""
    try:
        came = hashlib.sha256(MNIST_FILE.read_bytes()).hexdigest()
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError(f"{MNIST_FILE}: cannot be read ({reason}); install minigen anew") from error
    if came != MNIST_SHA256:
        raise CheckpointError(f"{MNIST_FILE}: damaged, its SHA-256 is {came}, expected {MNIST_SHA256}; install minigen "
                              "anew")
    return load_classifier(MNIST_FILE)[0]
