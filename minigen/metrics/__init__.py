"""How good is what was generated? One file an idea; `judge.py` puts them together.

    features    classifier, fit, shipped: the network whose insides are measured
    quality     inception, frechet, kernel; precision and density in manifold
    variety     recall and coverage in manifold; classes
    memory      copies: the nearest training images
    likelihood  vae, sentences; parzen, and why not to trust it
    honesty     interval: bootstrap; cheats: what scores without having learned anything

>>> train, test = mg.data.mnist("train")[0], mg.data.mnist("test")[0]              # doctest: +SKIP
>>> judge = mg.metrics.Judge(mg.metrics.mnist_classifier(), train, test, 10_000)   # doctest: +SKIP
>>> judge.examine(model.sample(10_000)).figures["frechet"]                         # doctest: +SKIP
>>> judge.examine(judge.floor()).figures["frechet"]    # what real images get       # doctest: +SKIP

Features come from a network trained on the data set in question (`classifier.py`), so no figure here compares with one
published for ImageNet features.
"""

from .classes import ClassHistogram, class_histogram
from .classifier import Classifier, ClassifierConfig, load_classifier, save_classifier
from .copies import Copies, copies, nearest_training
from .fit import fit_classifier
from .frechet import Moments, frechet_distance, frechet_gaussians, frechet_over_n, moments
from .inception import inception_score
from .interval import Estimate, bootstrap, bootstrap_mean
from .judge import Judge, Verdict
from .kernel import kernel_distance
from .manifold import Manifold, ManifoldFigures, manifold_figures
from .neighbours import Cloud, nearest
from .parzen import parzen_log_likelihood
from .sentences import SentenceFigures, posterior_verdict, sentence_figures
from .shipped import mnist_classifier
from .text import bleu, copying, distinct, evaluate_text, known_words, longest_copy, recovered_words, self_bleu, variety
from .vae import VAEFigures, active_units, importance_weighted_bound, vae_figures

__all__ = ["ClassHistogram", "Classifier", "ClassifierConfig", "Cloud", "Copies", "Estimate", "Judge", "Manifold",
           "ManifoldFigures", "Moments", "SentenceFigures", "VAEFigures", "Verdict", "active_units", "bleu",
           "bootstrap", "bootstrap_mean", "class_histogram", "copies", "copying", "distinct", "evaluate_text",
           "fit_classifier", "frechet_distance", "frechet_gaussians", "frechet_over_n", "importance_weighted_bound",
           "inception_score", "kernel_distance", "known_words", "load_classifier", "longest_copy", "manifold_figures",
           "mnist_classifier", "moments", "nearest", "nearest_training", "parzen_log_likelihood", "posterior_verdict",
           "recovered_words", "save_classifier", "self_bleu", "sentence_figures", "vae_figures",
           "variety"]
