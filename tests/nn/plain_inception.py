"""Inception-v3 of pytorch-fid in plain numpy, one image at a time: the obvious form, nothing folded or merged.

x is [c, h, w], as in PyTorch; the state has pytorch-fid's names.
"""

from collections.abc import Mapping

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

State = Mapping[str, np.ndarray]


def conv(state: State, name: str, x: np.ndarray, stride: int = 1, padding: tuple[int, int] = (0, 0)) -> np.ndarray:
    kernel = state[f"{name}.conv.weight"]
    x = np.pad(x, ((0, 0), (padding[0],) * 2, (padding[1],) * 2))
    windows = sliding_window_view(x, kernel.shape[2:], axis=(1, 2))[:, ::stride, ::stride]
    y = np.tensordot(kernel, windows, ((1, 2, 3), (0, 3, 4)))
    scale, shift, mean, variance = (
        state[f"{name}.bn.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
    )
    return np.maximum((y - mean) / np.sqrt(variance + 1e-3) * scale + shift, 0)


def pool(x: np.ndarray, kind: str, stride: int = 1, padding: int = 0) -> np.ndarray:
    """nanmean leaves the padding out."""
    x = np.pad(x, ((0, 0), (padding,) * 2, (padding,) * 2), constant_values=np.nan)
    windows = sliding_window_view(x, (3, 3), axis=(1, 2))[:, ::stride, ::stride]
    return {"mean": np.nanmean, "max": np.nanmax}[kind](windows, axis=(3, 4))


def features(state: State, x: np.ndarray) -> np.ndarray:
    """[3, 299, 299] in [-1, 1] to [2048]."""
    x = conv(state, "Conv2d_1a_3x3", x, 2)
    x = conv(state, "Conv2d_2a_3x3", x)
    x = conv(state, "Conv2d_2b_3x3", x, padding=(1, 1))
    x = conv(state, "Conv2d_3b_1x1", pool(x, "max", 2))
    x = pool(conv(state, "Conv2d_4a_3x3", x), "max", 2)
    for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        x = block_a(state, name, x)
    x = block_b(state, "Mixed_6a", x)
    for name in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        x = block_c(state, name, x)
    x = block_d(state, "Mixed_7a", x)
    x = block_e(state, "Mixed_7b", x, "mean")
    x = block_e(state, "Mixed_7c", x, "max")
    return x.mean(axis=(1, 2))


def chain(state: State, block: str, x: np.ndarray, *steps: tuple[str, tuple[int, int]]) -> np.ndarray:
    for name, padding in steps:
        x = conv(state, f"{block}.{name}", x, padding=padding)
    return x


def block_a(state: State, block: str, x: np.ndarray) -> np.ndarray:
    one = chain(state, block, x, ("branch1x1", (0, 0)))
    five = chain(state, block, x, ("branch5x5_1", (0, 0)), ("branch5x5_2", (2, 2)))
    three = chain(state, block, x, ("branch3x3dbl_1", (0, 0)), ("branch3x3dbl_2", (1, 1)), ("branch3x3dbl_3", (1, 1)))
    pooled = chain(state, block, pool(x, "mean", padding=1), ("branch_pool", (0, 0)))
    return np.concatenate([one, five, three, pooled])


def block_b(state: State, block: str, x: np.ndarray) -> np.ndarray:
    three = conv(state, f"{block}.branch3x3", x, 2)
    double = chain(state, block, x, ("branch3x3dbl_1", (0, 0)), ("branch3x3dbl_2", (1, 1)))
    double = conv(state, f"{block}.branch3x3dbl_3", double, 2)
    return np.concatenate([three, double, pool(x, "max", 2)])


def block_c(state: State, block: str, x: np.ndarray) -> np.ndarray:
    row, column = (0, 3), (3, 0)
    one = chain(state, block, x, ("branch1x1", (0, 0)))
    seven = chain(state, block, x, ("branch7x7_1", (0, 0)), ("branch7x7_2", row), ("branch7x7_3", column))
    names = ("branch7x7dbl_2", column), ("branch7x7dbl_3", row), ("branch7x7dbl_4", column), ("branch7x7dbl_5", row)
    double = chain(state, block, x, ("branch7x7dbl_1", (0, 0)), *names)
    pooled = chain(state, block, pool(x, "mean", padding=1), ("branch_pool", (0, 0)))
    return np.concatenate([one, seven, double, pooled])


def block_d(state: State, block: str, x: np.ndarray) -> np.ndarray:
    three = conv(state, f"{block}.branch3x3_2", chain(state, block, x, ("branch3x3_1", (0, 0))), 2)
    names = ("branch7x7x3_1", (0, 0)), ("branch7x7x3_2", (0, 3)), ("branch7x7x3_3", (3, 0))
    seven = conv(state, f"{block}.branch7x7x3_4", chain(state, block, x, *names), 2)
    return np.concatenate([three, seven, pool(x, "max", 2)])


def block_e(state: State, block: str, x: np.ndarray, pooling: str) -> np.ndarray:
    one = chain(state, block, x, ("branch1x1", (0, 0)))
    three = chain(state, block, x, ("branch3x3_1", (0, 0)))
    double = chain(state, block, x, ("branch3x3dbl_1", (0, 0)), ("branch3x3dbl_2", (1, 1)))
    split = [
        chain(state, block, y, (f"{name}{end}", padding))
        for y, name in ((three, "branch3x3_2"), (double, "branch3x3dbl_3"))
        for end, padding in (("a", (0, 1)), ("b", (1, 0)))
    ]
    pooled = chain(state, block, pool(x, pooling, padding=1), ("branch_pool", (0, 0)))
    return np.concatenate([one, *split, pooled])
