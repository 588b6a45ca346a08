"""The training loop: fit, its callbacks, and the record of a run. From above to below:

_fit              px.fit: arguments parsed, planned, run
_settings         what fit was asked for, checked, and as a run logs it
_planning         from settings to optimiser, data, run and plan
_training         the engine: epochs, chunks of steps, validation, callbacks between them
_train _evaluate  px.train; px.evaluate and px.predict
_prepared         models made ready for px.predict, kept as long as they are what they were
_learning_rate    px.find_learning_rate
steps/            loss, gradient and update as one program; several in one dispatch
batches/          data in any form as batches in order, and the first ones looked at
callbacks/        what else happens while a model trains
checkpoints/      a run kept on disk, and put back bit for bit
tracking/         what a run was made of, services that keep runs, and pages of them
logs/             history, progress, CSV, TensorBoard, pictures
preflight/        the memory of a step, before it runs
_planned          the step of px.fit for px.parallel.plan
_run              where a training stands, as callbacks see it and as checkpoints keep it
_hooked           what runs and steps ask of a callback
_interruption     Ctrl-C and SIGTERM
_together         several processes: rows, what is done once, where they begin and end
_whose            whose rows brought what is not finite
_checks _warning  arguments refused; warnings that point to the user's line
_validating       data checked by a schema before the first step
"""

from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name
from phlox.loop import _planned as _planned  # which px.parallel.plan is handed
from phlox.loop._evaluate import evaluate, predict
from phlox.loop._fit import fit
from phlox.loop._learning_rate import LearningRates, find_learning_rate
from phlox.loop._run import Run
from phlox.loop._train import Pass, train

# Names imported as themselves serve the rooms above, and no user: not in __all__.
from phlox.loop.batches._one_pass import call_on_input as call_on_input
from phlox.loop.batches._one_pass import one_pass as one_pass
from phlox.loop.callbacks._averaged_model import AveragedModel
from phlox.loop.callbacks._batch_norm import update_batch_norm
from phlox.loop.callbacks._callback import Callback
from phlox.loop.callbacks._direction import mode_of as mode_of
from phlox.loop.callbacks._early_stopping import EarlyStopping
from phlox.loop.callbacks._ema import EMA
from phlox.loop.callbacks._lambda import LambdaCallback
from phlox.loop.callbacks._limits import TimeLimit
from phlox.loop.callbacks._monitor import Monitor as Monitor
from phlox.loop.callbacks._nonfinite import StopOnNonFinite
from phlox.loop.callbacks._plateau import ReduceOnPlateau
from phlox.loop.callbacks._swa import SWA
from phlox.loop.callbacks._unfreezing import GradualUnfreezing
from phlox.loop.checkpoints._checkpoint import Checkpoint
from phlox.loop.checkpoints._load import load_checkpoint
from phlox.loop.checkpoints._lock import FolderLock as FolderLock
from phlox.loop.checkpoints._manifest import Saved
from phlox.loop.checkpoints._store import CheckpointStore
from phlox.loop.logs._display import ProgressBar
from phlox.loop.logs._files import CSVLogger, JSONLinesLogger
from phlox.loop.logs._history import History
from phlox.loop.logs._profile import Profile, profile
from phlox.loop.logs._tensorboard import TensorBoardLogger
from phlox.loop.logs._throughput import Throughput, peak_flops
from phlox.loop.preflight._batch_size import BatchSizes, find_batch_size
from phlox.loop.preflight._memory import memory
from phlox.loop.preflight._report import Memory, MemoryAdvice, MemoryRow, NotEnoughMemoryError
from phlox.loop.preflight._room import available_memory, resident_memory
from phlox.loop.steps._multi_step import multi_step
from phlox.loop.steps._objective import Objective as Objective
from phlox.loop.steps._objective import check_loss as check_loss
from phlox.loop.steps._weighing import takes_weights as takes_weights
from phlox.loop.steps._weighing import weighed as weighed
from phlox.loop.tracking._catching_up import catch_up
from phlox.loop.tracking._mlflow import MLflowLogger
from phlox.loop.tracking._record import RunRecord
from phlox.loop.tracking._recorded_run import RecordedRun, read_run
from phlox.loop.tracking._wandb import WandbLogger
from phlox.loop.tracking._worst import WorstExamples
from phlox.loop.tracking.pages._compare import Comparison, compare
from phlox.loop.tracking.pages._report import report

__all__ = [
    "EMA",
    "SWA",
    "AveragedModel",
    "BatchSizes",
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "CheckpointStore",
    "Comparison",
    "EarlyStopping",
    "GradualUnfreezing",
    "History",
    "JSONLinesLogger",
    "LambdaCallback",
    "LearningRates",
    "MLflowLogger",
    "Memory",
    "MemoryAdvice",
    "MemoryRow",
    "NotEnoughMemoryError",
    "Pass",
    "Profile",
    "ProgressBar",
    "RecordedRun",
    "ReduceOnPlateau",
    "Run",
    "RunRecord",
    "Saved",
    "StopOnNonFinite",
    "TensorBoardLogger",
    "Throughput",
    "TimeLimit",
    "WandbLogger",
    "WorstExamples",
    "available_memory",
    "catch_up",
    "compare",
    "evaluate",
    "find_batch_size",
    "find_learning_rate",
    "fit",
    "load_checkpoint",
    "memory",
    "multi_step",
    "peak_flops",
    "predict",
    "profile",
    "read_run",
    "report",
    "resident_memory",
    "train",
    "update_batch_norm",
]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
