"""The diffusion U-Net and its control in eager PyTorch, after DDPM's and ControlNet's publications.

Arguments: the multipliers ("1,2") and the residual blocks of a level.  Arrays: image [n, h, w, c], times [n],
mask [n, h, w, m], and weights by their path ("base/encoder/first/kernel").  Writes the predicted noise of the base,
then of the base under control, along the first axis.
"""

import math
import sys

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


class Weights:
    """The arrays below one path, as the tensors that torch's functions take."""

    def __init__(self, arrays: dict[str, np.ndarray], path: str) -> None:
        self.arrays, self.path = arrays, path

    def at(self, name: str) -> "Weights":
        return Weights(self.arrays, f"{self.path}/{name}")

    def get(self, name: str) -> Tensor:
        return torch.from_numpy(self.arrays[f"{self.path}/{name}"])

    def has(self, name: str) -> bool:
        return any(key.startswith(f"{self.path}/{name}/") for key in self.arrays)

    def conv(self, x: Tensor, stride: int = 1) -> Tensor:
        kernel = self.get("kernel").permute(3, 2, 0, 1)
        return F.conv2d(x, kernel, self.get("bias"), stride=stride, padding=kernel.shape[-1] // 2)

    def linear(self, x: Tensor) -> Tensor:
        return F.linear(x, self.get("kernel").T, self.get("bias"))

    def norm(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        groups = next(g for g in (32, 16, 8, 4, 2, 1) if channels % g == 0 and (channels // 4 % g == 0 or g == 1))
        return F.group_norm(x, groups, self.get("scale"), self.get("bias"), eps=1e-5)


def embed(times: Tensor, width: int) -> Tensor:
    rows = []
    for time in times.tolist():
        angles = [time / 10_000 ** (i / (width // 2)) for i in range(width // 2)]
        rows.append([math.cos(a) for a in angles] + [math.sin(a) for a in angles])
    return torch.tensor(rows, dtype=torch.float32)


def block(weights: Weights, x: Tensor, time: Tensor) -> Tensor:
    y = weights.at("conv").conv(F.silu(weights.at("norm").norm(x)))
    y = y + weights.at("time").linear(F.silu(time))[:, :, None, None]
    y = weights.at("conv_zero").conv(F.silu(weights.at("time_norm").norm(y)))
    if weights.has("shortcut"):
        x = weights.at("shortcut").conv(x)
    x = x + y
    return x + attention(weights, x) if weights.has("query") else x


def attention(weights: Weights, x: Tensor) -> Tensor:
    y = weights.at("attention_norm").norm(x)
    q, k, v = (weights.at(name).conv(y).flatten(2).transpose(1, 2)[:, None] for name in ("query", "key", "value"))
    mixed = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2).reshape(x.shape)
    return weights.at("attention_zero").conv(mixed)


class Net:
    """Both networks, their levels and blocks known."""

    def __init__(self, multipliers: list[int], blocks: int) -> None:
        self.multipliers, self.blocks = multipliers, blocks

    def encode(
        self, weights: Weights, x: Tensor, times: Tensor, hint: Tensor | None = None
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        time = weights.at("time0").linear(embed(times, weights.get("first/kernel").shape[-1]))
        time = weights.at("time1").linear(F.silu(time))
        x = weights.at("first").conv(x)
        if hint is not None:
            x = x + hint
        skips = [x]
        for i in range(len(self.multipliers)):
            for j in range(self.blocks):
                x = block(weights.at(f"down{i}_{j}"), x, time)
                skips.append(x)
            if i < len(self.multipliers) - 1:
                x = weights.at(f"halve{i}").conv(x, stride=2)
                skips.append(x)
        for name in ("middle0", "middle1"):
            x = block(weights.at(name), x, time)
        return skips, x, time

    def decode(self, weights: Weights, skips: list[Tensor], x: Tensor, time: Tensor) -> Tensor:
        for i in range(len(self.multipliers) - 1, -1, -1):
            for j in range(self.blocks + 1):
                x = block(weights.at(f"up{i}_{j}"), torch.cat([x, skips.pop()], 1), time)
            if i > 0:
                x = weights.at(f"double{i}").conv(F.interpolate(x, scale_factor=2, mode="nearest"))
        return weights.at("out_zero").conv(F.silu(weights.at("norm").norm(x)))

    def predict(self, base: Weights, x: Tensor, times: Tensor, controls: list[Tensor] | None = None) -> Tensor:
        skips, middle, time = self.encode(base.at("encoder"), x, times)
        if controls is not None:
            skips = [skip + control for skip, control in zip(skips, controls[:-1], strict=True)]
            middle = middle + controls[-1]
        return self.decode(base.at("decoder"), skips, middle, time)

    def control(self, weights: Weights, x: Tensor, times: Tensor, mask: Tensor) -> list[Tensor]:
        hint = F.silu(weights.at("hint1").conv(F.silu(weights.at("hint0").conv(mask))))
        hint = weights.at("hint_zero").conv(hint)
        skips, middle, _ = self.encode(weights.at("encoder"), x, times, hint)
        controls = [weights.at(f"skip{i}_zero").conv(skip) for i, skip in enumerate(skips)]
        return [*controls, weights.at("middle_zero").conv(middle)]


def main(given: str, computed: str, multipliers: str, blocks: str) -> None:
    arrays = dict(np.load(given))
    base, control = Weights(arrays, "base"), Weights(arrays, "control")
    net = Net([int(one) for one in multipliers.split(",")], int(blocks))
    image, mask = (torch.from_numpy(arrays[name]).permute(0, 3, 1, 2) for name in ("image", "mask"))
    times = torch.from_numpy(arrays["times"])
    with torch.no_grad():
        alone = net.predict(base, image, times)
        steered = net.predict(base, image, times, net.control(control, image, times, mask))
    np.save(computed, torch.cat([alone, steered]).permute(0, 2, 3, 1).numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
