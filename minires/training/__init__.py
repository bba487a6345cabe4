"""The training loop, the run folder, and their figures. Not imported by ``import minires``."""

from .config import SCHEDULES, Config
from .evaluation import Evaluation, evaluate
from .loop import train
from .progress import Progress
from .run import Run, load_run

__all__ = ["SCHEDULES", "Config", "Evaluation", "Progress", "Run", "evaluate", "load_run", "train"]
