"""The workloads, one file each; nothing here imports a framework."""

from __future__ import annotations

from workloads import audio, bert, gpt, language, large_mlp, lenet, lstm, resnet50, small_mlp, small_resnet, unet, vit
from workloads._workload import Workload

__all__ = ["RATE", "WORKLOADS", "Workload"]

RATE = 1e-3  # of Adam, in every training workload

_FILES = (small_mlp, large_mlp, lenet, small_resnet, lstm, gpt, resnet50, vit, bert, language, audio, unet)
WORKLOADS = {workload.name: workload for file in _FILES for workload in file.WORKLOADS}
