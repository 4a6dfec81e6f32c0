"""What must be in order before a parity test imports torchvision, diffusers or transformers."""

from __future__ import annotations

import importlib

import torch

# The registry's torchvision is built for CUDA. Beside a CPU build of PyTorch its operators cannot
# be loaded, and its import dies with 'operator torchvision::nms does not exist', with whatever
# imports it. It asks for no more than the names of two: its networks do without them.
OPERATORS = torch.library.Library('torchvision', 'FRAGMENT')
try:
  importlib.import_module('torchvision')
except ImportError:
  pass
except RuntimeError:
  for name in ('nms', 'qnms'):
    OPERATORS.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
