"""Training: the loop, its checkpoints, its history and its pictures.

`loop.py` is the place to begin; `folder.py` says what a run leaves on disk.
"""

from . import feedback
from .folder import RunFolder
from .history import History
from .loop import train
from .model import Trainable
from .report import Interrupted, PlainReporter, Plan, Reporter, Silent, StepReport

__all__ = [
    "History",
    "Interrupted",
    "PlainReporter",
    "Plan",
    "Reporter",
    "RunFolder",
    "Silent",
    "StepReport",
    "Trainable",
    "feedback",
    "train",
]
