"""What the tests of the command line with text share."""

import pytest

from minigen.cli import texts
from minigen.models import GPT, TextVAE
from minigen.training import text_artifacts

TINY = {"layers": 1, "heads": 1, "width": 4}


@pytest.fixture(scope="module")
def tiny():
    """What `minigen train` makes is trained in moments, without compiled kernels too, and writes little."""
    with pytest.MonkeyPatch.context() as patch:
        for kind, settings in ((GPT, TINY), (TextVAE, {**TINY, "latent": 2})):
            for name, preset in kind.PRESETS.items():
                patch.setitem(kind.PRESETS, name, {**preset, **settings})
        patch.setattr(text_artifacts, "LENGTH", 20)
        patch.setattr(text_artifacts, "SAMPLES", 1)
        patch.setattr(texts, "_LENGTH", 30)
        yield
