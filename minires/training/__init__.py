"""The training loop, the run folder, and their figures. Not imported by ``import minires``."""

from .comparison import compare
from .config import OPTIMIZERS, SCHEDULES, Config
from .config_file import read_settings
from .evaluation import Evaluation, evaluate
from .gradients import GradientLog
from .loop import train
from .progress import Progress
from .run import Run, load_run
from .stopping import StopSignals

__all__ = [
    "OPTIMIZERS", "SCHEDULES", "Config", "Evaluation", "GradientLog", "Progress", "Run", "StopSignals", "compare",
    "evaluate", "load_run", "read_settings", "train",
]  # fmt: skip
