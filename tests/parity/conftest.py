"""What must be in order before a parity test imports diffusers or transformers."""

from __future__ import annotations

import sys

# The registry's torchvision is built for CUDA. Beside a CPU build of PyTorch its import dies with
# 'operator torchvision::nms does not exist', and takes with it whatever imports it because it is
# there (transformers' models, diffusers.UNet2DModel). None says that it is not there.
try:
  import torchvision  # noqa: F401
except ImportError:
  pass
except RuntimeError:
  sys.modules['torchvision'] = None
