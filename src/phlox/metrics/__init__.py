"""Metrics: what is reported beside the loss, taken in batch by batch and read at the end.

Each is a small Module: ``update(prediction, target, weight=None)`` takes a batch in, ``compute()`` gives the value of
all that was taken in, ``reset()`` forgets it, and ``merge(other)`` takes in what another one did. Predictions are
probabilities unless ``logits=True``. ``weight=`` holds a number or a mask for each example; padding has 0.

_metric _own _collection             what a metric is; one's own; several under names
_mean _regression _correlation       means, errors, correlation
_accuracy _precision _confusion      right decisions, precision and recall, the matrix
_ranking _calibration                scores at every threshold; honest probabilities
_retrieval                           documents ranked for queries
_detection _matching                 boxes found, against boxes that are there
text/                                texts beside the right ones: translations, summaries, transcripts
_sums _store _reading                exact sums, kept rows, checked updates
"""

from typing import TYPE_CHECKING

from phlox.core import unknown_name as _unknown_name
from phlox.metrics._accuracy import Accuracy, BinaryAccuracy, MultilabelAccuracy, TopKAccuracy
from phlox.metrics._calibration import CalibrationError
from phlox.metrics._collection import Metrics
from phlox.metrics._confusion import CohenKappa, ConfusionMatrix, MatthewsCorrelation, MeanIoU
from phlox.metrics._correlation import PearsonCorrelation, R2Score, SpearmanCorrelation
from phlox.metrics._detection import DetectionScores, MeanAveragePrecision
from phlox.metrics._mean import Mean, Perplexity
from phlox.metrics._metric import Metric, merge
from phlox.metrics._own import Select, Sums, from_function
from phlox.metrics._precision import F1, FBeta, Precision, Recall
from phlox.metrics._ranking import (
    ROCAUC,
    AveragePrecision,
    PrecisionRecallCurve,
    PrecisionRecallPoints,
    ROCCurve,
    ROCPoints,
)
from phlox.metrics._regression import MeanAbsoluteError, MeanSquaredError, RootMeanSquaredError
from phlox.metrics._retrieval import (
    RetrievalHitRate,
    RetrievalMAP,
    RetrievalMRR,
    RetrievalNDCG,
    RetrievalPrecision,
    RetrievalRecall,
    by_query,
)
from phlox.metrics.text._bleu import BLEU, BLEUScore, SentenceBLEU
from phlox.metrics.text._error_rate import CharacterErrorRate, ErrorRateScore, WordErrorRate
from phlox.metrics.text._rouge import ROUGE, ROUGEScore

__all__ = [
    "BLEU",
    "F1",
    "ROCAUC",
    "ROUGE",
    "Accuracy",
    "AveragePrecision",
    "BLEUScore",
    "BinaryAccuracy",
    "CalibrationError",
    "CharacterErrorRate",
    "CohenKappa",
    "ConfusionMatrix",
    "DetectionScores",
    "ErrorRateScore",
    "FBeta",
    "MatthewsCorrelation",
    "Mean",
    "MeanAbsoluteError",
    "MeanAveragePrecision",
    "MeanIoU",
    "MeanSquaredError",
    "Metric",
    "Metrics",
    "MultilabelAccuracy",
    "PearsonCorrelation",
    "Perplexity",
    "Precision",
    "PrecisionRecallCurve",
    "PrecisionRecallPoints",
    "R2Score",
    "ROCCurve",
    "ROCPoints",
    "ROUGEScore",
    "Recall",
    "RetrievalHitRate",
    "RetrievalMAP",
    "RetrievalMRR",
    "RetrievalNDCG",
    "RetrievalPrecision",
    "RetrievalRecall",
    "RootMeanSquaredError",
    "Select",
    "SentenceBLEU",
    "SpearmanCorrelation",
    "Sums",
    "TopKAccuracy",
    "WordErrorRate",
    "by_query",
    "from_function",
    "merge",
]

if not TYPE_CHECKING:  # a checker shall go on knowing which names there are

    def __getattr__(name: str) -> object:
        """Say where ours is, for a name of another room or of another library."""
        raise _unknown_name(__name__, name)
