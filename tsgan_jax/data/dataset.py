"""Prepared slices on disk: the TFDS dataset `luna16_slices` with one split per fold.

Only this file imports TensorFlow, configured to read records on the CPU.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tsgan_jax.data.slices import StoredSlice
from tsgan_jax.errors import UserError


def _import_tensorflow() -> tuple[Any, Any]:
    """(tensorflow, tensorflow_datasets), without messages, the network and accelerators, which stay with JAX."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # otherwise TensorFlow prints a message at every start
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    import absl.logging
    import tensorflow as tf
    import tensorflow_datasets as tfds

    absl.logging.set_verbosity(absl.logging.ERROR)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    tfds.disable_progress_bar()
    tfds.core.utils.gcs_utils._is_gcs_disabled = True
    try:
        tf.config.set_visible_devices([], "GPU")
        tf.config.threading.set_intra_op_parallelism_threads(2)
        tf.config.threading.set_inter_op_parallelism_threads(2)
    except RuntimeError:  # TensorFlow is already initialised: keep its settings
        pass
    return tf, tfds


tf, tfds = _import_tensorflow()


_Builder: Any = tfds.core.GeneratorBasedBuilder


class Luna16Slices(_Builder):
    """Slices of `prepare` as a TFDS dataset; built from `slices`, by fold, and read without them."""

    name = "luna16_slices"
    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self, *, data_dir: Path, key: str, resolution: int, slices: dict[int, list[StoredSlice]] | None = None
    ) -> None:
        self.resolution, self.slices = resolution, slices
        config = tfds.core.BuilderConfig(name=key, description=f"{resolution} x {resolution} pixels")
        super().__init__(data_dir=data_dir, config=config)

    def _info(self) -> Any:
        side, real, whole = self.resolution, np.float32, np.int32
        features = {
            "ct": tfds.features.Tensor(shape=(side, side), dtype=np.int16, encoding="zlib"),
            "mask": tfds.features.Image(shape=(side, side, 1), dtype=np.uint8, encoding_format="png"),
            "seriesuid": tfds.features.Text(),
            "slice_index": tfds.features.Scalar(whole),
            "z_mm": tfds.features.Scalar(real),
            "pixel_mm": tfds.features.Scalar(real),
            "native_mm": tfds.features.Tensor(shape=(2,), dtype=real),
            "nodules": tfds.features.Sequence(
                {
                    "box": tfds.features.Tensor(shape=(4,), dtype=whole),
                    "box_native": tfds.features.Tensor(shape=(4,), dtype=whole),
                    "centre": tfds.features.Tensor(shape=(2,), dtype=real),
                    "diameter_mm": tfds.features.Scalar(real),
                    "area": tfds.features.Scalar(real),
                }
            ),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="CT slices through lung nodules (int16 HU), six-class masks, boxes x, y, w, h in pixels.",
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {f"fold_{fold}": self._generate_examples(fold) for fold in sorted(self.slices or {})}

    def _generate_examples(self, fold: int) -> Iterator[tuple[int, dict[str, Any]]]:
        for key, one in enumerate((self.slices or {})[fold]):
            yield key, vars(one) | {"mask": one.mask[..., None], "nodules": [vars(nodule) for nodule in one.nodules]}


def read_fold(builder: Luna16Slices, fold: int) -> list[dict[str, Any]]:
    """The rows of one fold, in the order in which they were written; UserError when they are damaged."""
    config = tfds.ReadConfig(interleave_cycle_length=1, add_tfds_id=False)
    with damage_named(Path(builder.data_dir)):
        return list(tfds.as_numpy(builder.as_dataset(split=f"fold_{fold}", shuffle_files=False, read_config=config)))


def read_all(folder: Path) -> int:
    """Read every slice of a dataset's folder, with its checksum; returns their number.  UserError for damage."""
    with damage_named(folder):
        splits = tfds.builder_from_directory(str(folder)).as_dataset()
        return sum(1 for split in splits.values() for _ in tfds.as_numpy(split))


@contextmanager
def damage_named(folder: Path) -> Iterator[None]:
    """Turn what TFDS and TensorFlow make of files that are not as they were written into a UserError."""
    from google.protobuf.json_format import ParseError

    of_metadata = (ValueError, TypeError, KeyError, AttributeError, AssertionError, ParseError)
    try:
        yield
    except (OSError, tf.errors.OpError, *of_metadata) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise UserError(
            f"{folder}: prepared slices cannot be read ({type(error).__name__}: {reason}); remove the damaged "
            "folder there and run bin/prepare again"
        ) from error
