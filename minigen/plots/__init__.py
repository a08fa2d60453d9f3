"""Pictures, one file a subject: runs, evaluations, data sets, texts, benchmarks; what they share is in `style`.

Importing this imports Matplotlib: whoever draws does so where the first picture is drawn.
"""

from .bench import draw_crossover, draw_ladder, draw_roofline, draw_streaming, draw_training
from .control import Control, Mark
from .evaluation import Shown, save_evaluation
from .inspection import save_inspection
from .runs import (
    image_grid,
    manifold_points,
    save_gif,
    save_grid,
    save_latent_scatter,
    save_losses,
    save_manifold,
    save_reconstructions,
)
from .style import PALETTE, save_figure
from .text import save_attention, save_next_tokens, save_text_losses

__all__ = ["PALETTE", "Control", "Mark", "Shown", "draw_crossover", "draw_ladder", "draw_roofline", "draw_streaming",
           "draw_training", "image_grid", "manifold_points", "save_attention", "save_evaluation", "save_figure",
           "save_gif", "save_grid", "save_inspection", "save_latent_scatter", "save_losses", "save_manifold",
           "save_next_tokens", "save_reconstructions", "save_text_losses"]
