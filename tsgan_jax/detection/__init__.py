"""What a set does for a detector (section 4.5): real folds and synthetic images to YOLO, five folds of whole scans.

Detectors are trained by ultralytics, which is AGPL-3.0: `worker.py` runs in a process and an environment of its own.
"""

from tsgan_jax.detection.comparison import run_detection

__all__ = ["run_detection"]
