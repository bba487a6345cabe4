"""The training loop, the run folder, and their figures. Not imported by ``import minires``."""

from .config import OPTIMIZERS, SCHEDULES, Config
from .config_file import read_settings
from .evaluation import Evaluation, evaluate
from .loop import train
from .progress import Progress
from .run import Run, load_run

__all__ = [
    "OPTIMIZERS", "SCHEDULES", "Config", "Evaluation", "Progress", "Run", "evaluate", "load_run", "read_settings",
    "train",
]  # fmt: skip
