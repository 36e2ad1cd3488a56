"""What is trained: detectors, and the training sets they are trained on (Tables 2 and 3)."""

from dataclasses import dataclass

from tsgan_jax.config import DetectionConfig

REAL = "real"
AUGMENTED = "real, augmented"
REPEATED = "real, repeated"

ANCHOR_FREE = "YOLOv5u is ultralytics' anchor-free YOLOv5, not the anchor-based one of 2020"


@dataclass(frozen=True)
class TrainingSet:
    """All real training images of a fold, and what is done to them.

    synthetic: synthetic images added.  repeated: real images shown again, so that an epoch is as long as with that
    many synthetic ones.  augmented: flips, shifts, scales, brightness and mosaics drawn anew each time; without it an
    image is always shown as it is, so that nothing but the set differs.
    """

    name: str
    synthetic: int = 0
    repeated: int = 0
    augmented: bool = False


def training_sets(config: DetectionConfig) -> tuple[TrainingSet, ...]:
    """`real` first, for every other one is compared with it; then the schedule, then the controls."""
    sets = [TrainingSet(REAL), *(TrainingSet(f"real+{count}", synthetic=count) for count in config.schedule if count)]
    if "augmented" in config.controls:
        sets.append(TrainingSet(AUGMENTED, augmented=True))
    if "repeated" in config.controls and config.schedule[-1]:
        sets.append(TrainingSet(REPEATED, repeated=config.schedule[-1]))
    return tuple(sets)


def shown(model: str) -> str:
    """A detector's name wherever it is shown: yolov8n is YOLOv8n, yolov5n is YOLOv5nu (A44)."""
    name = model.replace("yolo", "YOLO")
    return f"{name}u" if model.startswith("yolov5") else name
