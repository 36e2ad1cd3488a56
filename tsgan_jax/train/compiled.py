"""Where compiled programs are kept between runs."""

import hashlib
import os
from pathlib import Path

import jax


def keep_compiled() -> None:
    """Keep compiled programs in the user's cache: a resumed run, or the next one, does not compile again.

    The folder is named after the CPU's features: programs of another CPU may not run here, and homes are shared.
    A folder that the user has set for JAX stays.
    """
    if jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        return
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    jax.config.update("jax_compilation_cache_dir", str(cache / "tsgan_jax" / "xla" / _cpu()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(features.encode()).hexdigest()[:8]
