"""Feedback: what a run measures moves its settings (section 3.2.5 of the document). Off unless asked for.

    mg.train(vae, images, feedback=[mg.feedback.KLTarget(15)])

Each controller is a rule from a paper in a file of its own: `kl.py`, `augmentation.py`, `balance.py`, `metric.py`.
`controller.py` says what one is, `attached.py` how the loop drives them, `log.py` what is written down.
"""

from .attached import Feedback, controllers_of
from .augmentation import AdaptiveAugmentation
from .balance import Balance
from .controller import Action, Controller
from .frechet import FRECHET
from .kl import KLTarget
from .log import Log
from .metric import KeepBest, OnPlateau, StopEarly

__all__ = ["FRECHET", "Action", "AdaptiveAugmentation", "Balance", "Controller", "Feedback", "KLTarget", "KeepBest",
           "Log", "OnPlateau", "StopEarly", "controllers_of"]
