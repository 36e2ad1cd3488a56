"""Evaluation of a set by training detectors (section 4.5): YOLO on real folds and synthetic images, five folds of
scans.

Detectors are trained by ultralytics, which is AGPL-3.0: `worker.py` runs in a separate process and environment.
"""

from tsgan_jax.detection.comparison import run_detection
from tsgan_jax.detection.training import installed_meanwhile

__all__ = ["installed_meanwhile", "run_detection"]
