"""TensorFlow as this project uses it: for reading records on the CPU, silently and without the network."""

import logging
import os
from typing import Any

THREADS = 2


def import_tensorflow() -> tuple[Any, Any]:
    """(tensorflow, tensorflow_datasets), with no accelerator taken from JAX and few threads."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # where it is on, TensorFlow says so at every start
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
        tf.config.threading.set_intra_op_parallelism_threads(THREADS)
        tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    except RuntimeError:  # the caller has used TensorFlow before; then its settings stand
        pass
    return tf, tfds
