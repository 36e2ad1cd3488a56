"""Train and test one detector with ultralytics, or with 0 epochs only test it: `python worker.py JOB.json`, in a
separate environment.

Imports nothing of tsgan_jax: it runs under another interpreter, and ultralytics is AGPL-3.0.  The job's keys are
those of `training.Job.told`; the result is written to `result.json` in the job's folder.  This process refuses
all network connections beyond this machine.
"""

import json
import os
import pickle
import shutil
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

OFF = ("hsv_h", "hsv_s", "hsv_v", "translate", "scale", "fliplr", "mosaic", "erasing", "close_mosaic")
"""Augmentations of ultralytics that are on by default."""

FITTING = 0.5
"""Minimum share of a detector's tensors that a file of weights must have."""

FIRST_GUESS = 0.7
"""Decrease of the head's initial logits per unit of distance (in cells); the mean distance is then one cell."""

UNREADABLE = (
    *(OSError, EOFError, RuntimeError, ValueError, TypeError, LookupError, ImportError, AttributeError),
    pickle.UnpicklingError,
)
"""What reading a file that is damaged, or no file of weights, raises."""


def main(path: str) -> int:
    """Train, test, write the result; returns the exit code.  Why a job is refused is written to `refused.txt`."""
    job = json.loads(Path(path).read_text())
    folder = Path(job["folder"])
    parent = os.getppid()
    sys.addaudithook(stay_on_this_machine)
    prepare(Path(job["settings"]))
    import torch
    import ultralytics

    started = time.monotonic()
    told: dict[str, Any] = {}
    weights = Path(job["weights"] or "")
    if job["epochs"]:
        try:
            start = starting_weights(job, folder)
        except ValueError as error:
            (folder / "refused.txt").write_text(str(error))
            return 3
        trainer = train(job, start, folder, parent)
        weights = trainer.last
        told = {
            "images": len(trainer.train_loader.dataset),
            "start": start["says"],
            "parameters": sum(p.numel() for p in trainer.model.parameters()),
            "device": str(trainer.device),
        }
    figures, predictions, tested = test(job, weights, folder)
    result = {
        "figures": figures,
        "predictions": predictions,
        "images": tested,
        **told,
        "seconds": round(time.monotonic() - started, 1),
        "ultralytics": ultralytics.__version__,
        "torch": torch.__version__,
    }
    if job["epochs"]:
        shutil.copyfile(weights, folder / "detector.pt")
    (folder / "result.json.part").write_text(json.dumps(result))
    (folder / "result.json.part").replace(folder / "result.json")
    return 0


def stay_on_this_machine(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook that refuses name look-ups and connections beyond loopback."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None  # a path is a local socket
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in (None, "", "localhost", "127.0.0.1", "::1"):
        raise OSError(f"no network: the detector's process must not contact {host}")


def prepare(settings: Path) -> None:
    """Write ultralytics' settings and font, so that it does not download them.  Call it before the import."""
    os.environ |= {
        "YOLO_OFFLINE": "1",
        "YOLO_AUTOINSTALL": "false",
        "YOLO_CONFIG_DIR": str(settings),
        "ULTRALYTICS_SAFE_LOAD": "1",  # load only tensors and known layers from weights, never code
        "MPLBACKEND": "Agg",
    }
    font = settings / "Ultralytics" / "Arial.ttf"
    found = find_spec("matplotlib")
    if not font.exists() and found is not None and found.origin is not None:
        font.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", font)


def starting_weights(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """{"file": file of starting weights (None: random), "says": its description}.

    A file of weights is ultralytics' or a plain state dict; tensors with the same name and shape are used.
    Raises ValueError for a file that cannot be read, or has fewer than half of the tensors.
    """
    if job["weights"] is None:
        return {"file": None, "says": "random weights, first boxes of two cells a side"}
    import torch
    from ultralytics.nn.tasks import DetectionModel, torch_safe_load

    name = Path(job["weights"]).name
    try:
        try:
            loaded = torch.load(job["weights"], map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:  # other classes than tensors: perhaps ultralytics' own
            loaded, _ = torch_safe_load(job["weights"], safe_only=True)
    except UNREADABLE as error:
        raise ValueError(f"{name}: cannot be read as weights: {error}") from error
    if isinstance(loaded, dict):
        loaded = loaded.get("ema") or loaded.get("model") or loaded.get("state_dict") or loaded
    tensors = loaded.float().state_dict() if isinstance(loaded, torch.nn.Module) else loaded
    if not isinstance(tensors, dict):
        raise ValueError(f"{name}: cannot be read as weights: it holds {type(tensors).__name__}, no tensors by name")
    given = {key: value.float() for key, value in tensors.items() if isinstance(value, torch.Tensor)}
    model = DetectionModel(f"{job['model']}.yaml", nc=1, verbose=False)
    mine = model.state_dict()
    fitting = {key: given[key] for key in mine.keys() & given.keys() if given[key].shape == mine[key].shape}
    if len(fitting) < FITTING * len(mine):
        raise ValueError(
            f"{name}: {len(fitting)} of the {len(mine)} tensors of {job['model']} have the same name and shape; "
            "the file is of another detector"
        )
    model.load_state_dict(fitting, strict=False)
    torch.save({"model": model, "epoch": -1, "train_args": {}}, folder / "start.pt")
    says = f"{name} ({len(fitting)} of {len(mine)} tensors, sha256 {job['weights_sha256'][:16]})"
    return {"file": str(folder / "start.pt"), "says": says}


def train(job: dict[str, Any], start: dict[str, Any], folder: Path, parent: int) -> Any:
    """The finished trainer.  The test images are not used in training, so they choose no epoch."""
    from ultralytics.models.yolo.detect import DetectionTrainer

    settings = {
        "model": f"{job['model']}.yaml",
        "pretrained": start["file"] or False,
        "data": job["data"],
        "epochs": job["epochs"],
        "batch": job["batch_size"],
        "nbs": job["batch_size"],  # one step per batch; the default accumulates gradients of 64 images
        "imgsz": job["image_size"],
        "lr0": job["learning_rate"],
        "optimizer": "AdamW",
        "warmup_bias_lr": 0.0,  # 0.1 is for SGD
        "seed": job["seed"],
        "device": device(job["device"]),
        "deterministic": True,
        "amp": False,  # its self-check would download a file
        "workers": 0,
        "val": False,
        "patience": 0,
        "plots": False,
        "verbose": False,
        "project": str(folder),
        "name": "train",
        "exist_ok": True,
        **({} if job["augmented"] else dict.fromkeys(OFF, 0)),
    }

    class Trainer(DetectionTrainer):
        def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
            model = super().get_model(cfg, weights, verbose)
            if weights is None:
                guess_small_boxes(model)
            return model

    trainer = Trainer(overrides=settings)
    trainer.add_callback("on_train_batch_end", lambda _: end_with(parent))
    trainer.train()
    return trainer


def guess_small_boxes(model: Any) -> None:
    """Set the biases of the head so that initial boxes are about two cells a side.

    ultralytics' initial boxes have fifteen cells, 120 pixels on the finest grid.  An object is assigned to a prediction
    only if they overlap by about a twentieth, so small nodules would never be learned.
    """
    import torch

    head = model.model[-1]
    bins = -FIRST_GUESS * torch.arange(head.reg_max, dtype=torch.float32)
    with torch.no_grad():
        for branch in head.cv2:
            branch[-1].bias.copy_(bins.repeat(4))


def test(job: dict[str, Any], weights: Path, folder: Path) -> tuple[dict[str, float], list[Any], int]:
    """ultralytics' figures, every prediction as [image, x, y, width, height, score], and the number of images."""
    from ultralytics import YOLO

    seen: list[int] = []
    detector = YOLO(str(weights))
    detector.add_callback("on_val_end", lambda validator: seen.append(validator.seen))
    metrics = detector.val(
        data=job["data"],
        split="val",
        imgsz=job["image_size"],
        batch=job["batch_size"],
        device=device(job["device"]),
        workers=0,
        plots=False,
        verbose=False,
        save_json=True,
        project=str(folder),
        name="test",
        exist_ok=True,
    )
    found = folder / "test" / "predictions.json"
    predictions = json.loads(found.read_text()) if found.is_file() else []
    box = metrics.box
    figures = {"precision": box.mp, "recall": box.mr, "mAP50": box.map50, "mAP50-95": box.map}
    boxes = [[p["image_id"], *p["bbox"], p["score"]] for p in predictions]
    return {name: float(value) for name, value in figures.items()}, boxes, seen[-1]


def device(asked: str) -> str:
    """`auto` is the first GPU, if there is one."""
    import torch

    return asked if asked != "auto" else "0" if torch.cuda.is_available() else "cpu"


def end_with(parent: int) -> None:
    """End this worker when its parent process has ended."""
    if os.getppid() != parent:
        os._exit(4)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
