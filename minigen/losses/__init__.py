"""The losses, built from the document's equations."""

from . import gan, text, vae

__all__ = ["gan", "text", "vae"]
