"""The losses, built from the document's equations."""

from . import gan, vae

__all__ = ["gan", "vae"]
