"""The training loop, the run folder, and their figures. Not imported by ``import minires``."""

from .comparison import compare
from .config import SCHEDULES, Config
from .evaluation import Evaluation, evaluate
from .gradients import GradientLog
from .loop import train
from .progress import Progress
from .run import Run, load_run

__all__ = [
    "SCHEDULES",
    "Config",
    "Evaluation",
    "GradientLog",
    "Progress",
    "Run",
    "compare",
    "evaluate",
    "load_run",
    "train",
]
