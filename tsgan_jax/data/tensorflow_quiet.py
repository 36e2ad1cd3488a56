"""Import of TensorFlow, configured to read records on the CPU, without messages and without the network."""

import logging
import os
from typing import Any

THREADS = 2


def import_tensorflow() -> tuple[Any, Any]:
    """(tensorflow, tensorflow_datasets), limited to the CPU and few threads; the accelerators stay with JAX."""
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
        tf.config.threading.set_intra_op_parallelism_threads(THREADS)
        tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    except RuntimeError:  # TensorFlow is already initialised: keep its settings
        pass
    return tf, tfds
