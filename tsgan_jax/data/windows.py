"""HU windows: to the networks' [-1, 1] and back, and to 8-bit grey (FACTS A30)."""

import numpy as np

Window = tuple[float, float]


def to_unit(hu: np.ndarray, window: Window) -> np.ndarray:
    """float32 in [-1, 1]: the window's lower edge is -1, its upper edge 1, values outside it are clipped."""
    low, high = window
    return np.clip((np.asarray(hu, np.float32) - low) * (2.0 / (high - low)) - 1.0, -1.0, 1.0).astype(np.float32)


def to_hu(unit: np.ndarray, window: Window) -> np.ndarray:
    """float32 HU: the inverse of `to_unit` inside the window."""
    low, high = window
    return ((np.asarray(unit, np.float32) + 1.0) * ((high - low) / 2.0) + low).astype(np.float32)


def to_uint8(hu: np.ndarray, window: Window) -> np.ndarray:
    """uint8: the window's lower edge is 0, its upper edge 255, values outside it are clipped."""
    return np.rint((to_unit(hu, window) + 1.0) * 127.5).astype(np.uint8)
