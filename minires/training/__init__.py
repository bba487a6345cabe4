"""The training loop, the run folder, and their figures. Not imported by ``import minires``."""

from .config import SCHEDULES, Config
from .evaluation import Evaluation, evaluate
from .loop import train
from .progress import Progress
from .run import Run, load_run
from .stopping import StopSignals

__all__ = ["SCHEDULES", "Config", "Evaluation", "Progress", "Run", "StopSignals", "evaluate", "load_run", "train"]
