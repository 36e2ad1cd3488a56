"""Pix2pix's U-Net (Isola et al. 2017), LIA and DWMH in eager PyTorch: IN.npz OUT.npy HEADS WINDOW.

IN: mask [n, h, w, c]; generator.<layer>, kernels HWIO or [in, out].  The layers say which parts there are.
OUT: the CT made of mask, NHWC, one image at a time: the U-Net has batch normalisation and was trained at batch 1.
Without dropout, as the caller has it.
"""

import math
import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class LocalAttention(nn.Module):
    """x * importance * gate, with PlainUSR's soft pooling: a mean weighted by exp(x)."""

    def __init__(self, channels, width):
        super().__init__()
        self.reduce = nn.Conv2d(channels, width, 1)
        self.squeeze = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.expand = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x):
        y = self.reduce(x)
        y = F.avg_pool2d(y * y.exp(), 7, stride=3) / F.avg_pool2d(y.exp(), 7, stride=3)
        importance = torch.sigmoid(self.expand(self.squeeze(y)))
        importance = F.interpolate(importance, size=x.shape[2:], mode="bilinear", align_corners=False)
        return x * importance * torch.sigmoid(x[:, :1])


class WindowAttention(nn.Module):
    """x + gamma * attention inside each window; what no whole window covers is folded back as 0."""

    def __init__(self, channels, heads, window):
        super().__init__()
        self.heads, self.window = heads, window
        self.query, self.key, self.value = (nn.Conv2d(channels, channels, 1) for _ in range(3))
        self.head_weights, self.gamma = nn.Parameter(torch.ones(heads)), nn.Parameter(torch.zeros(()))

    def windows(self, x):
        """[n, heads, channels of a head, pixels of a window, windows]."""
        columns = nn.Unfold(self.window, stride=self.window)(x)
        return columns.unflatten(1, (self.heads, -1, self.window**2))

    def forward(self, x):
        q, k, v = (self.windows(layer(x)) for layer in (self.query, self.key, self.value))
        shares = torch.softmax(torch.einsum("nhdtw,nhdsw->nhtsw", q, k) / math.sqrt(q.shape[2]), dim=3)
        mixed = torch.einsum("h,nhtsw,nhdsw->nhdtw", self.head_weights, shares, v).flatten(1, 3)
        return x + self.gamma * F.fold(mixed, x.shape[2:], self.window, stride=self.window)


class Level(nn.Module):
    """One level of the U-Net, round what lies `below` it: the next level, the bottleneck's attention or nothing."""

    def __init__(self, before, features, returned, below, lia_width, outermost, innermost):
        super().__init__()
        self.outermost = outermost
        self.below, self.lia = below, nn.Identity()
        self.down = nn.Conv2d(before, features, 4, stride=2, padding=1, bias=False)
        inside = features if innermost else 2 * features
        self.up = nn.ConvTranspose2d(inside, returned, 4, stride=2, padding=1, bias=outermost)
        self.down_norm = nn.Identity() if outermost or innermost else nn.BatchNorm2d(features)
        self.up_norm = nn.Identity() if outermost else nn.BatchNorm2d(returned)
        if lia_width and not outermost:
            self.lia = LocalAttention(before, lia_width)

    def forward(self, x):
        if self.outermost:
            return torch.tanh(self.up(F.relu(self.below(self.down(x)))))
        y = self.down_norm(self.down(F.leaky_relu(x, 0.2, inplace=True)))  # which alters the skip, x, too
        y = self.up_norm(self.up(F.relu(self.below(y))))
        return torch.cat([self.lia(x), y], dim=1)


def build(arrays, heads, window):
    """The U-Net, and its levels from the outermost, with the sizes that `arrays` have."""
    depth = sum(name.startswith("down") and name.endswith(".kernel") for name in arrays)
    channels, width = arrays["down0.kernel"].shape[2:]
    features = [min(width * 2**i, width * 8) for i in range(depth)]
    lia_width = arrays["lia0.reduce"].shape[1] if "lia0.reduce" in arrays else 0
    below = WindowAttention(features[-1], heads, window) if "dwmh.gamma" in arrays else nn.Identity()
    levels = []
    for i in reversed(range(depth)):
        before, returned = (features[i - 1], features[i - 1]) if i else (channels, 1)
        below = Level(before, features[i], returned, below, lia_width, i == 0, i == depth - 1)
        levels.insert(0, below)
    return levels


def fill(levels, arrays):
    """Every array finds its parameter, every parameter its array."""
    named = {}
    for i, level in enumerate(levels):
        for part in ("down", "up", "down_norm", "up_norm"):
            name = f"{part[:-5]}{i}_norm" if part.endswith("_norm") else f"{part}{i}"
            for kind, parameter in getattr(level, part).named_parameters():
                given = "bias" if kind == "bias" else "scale" if "norm" in part else "kernel"
                named[f"{name}.{given}"] = parameter
        above = f"lia{i - 1}"
        bottleneck = level.below if i == len(levels) - 1 else nn.Identity()
        for owner, module in ((above, level.lia), ("dwmh", bottleneck)):
            for kind, parameter in module.named_parameters():
                named[f"{owner}.{kind.replace('.weight', '').replace('.', '_')}"] = parameter
    assert named.keys() == arrays.keys(), named.keys() ^ arrays.keys()
    assert len(named) == len(list(levels[0].parameters()))
    for name, parameter in named.items():
        value = torch.from_numpy(arrays[name])
        if name.startswith("up") and value.ndim == 4:
            value = value.permute(2, 3, 0, 1)
        elif value.ndim == 4:
            value = value.permute(3, 2, 0, 1)
        elif value.ndim == 2:
            value = value.T[:, :, None, None]
        assert parameter.shape == value.shape, name
        parameter.copy_(value)


def main():
    source, target, heads, window = sys.argv[1:]
    given = dict(np.load(source))
    arrays = {name.removeprefix("generator."): array for name, array in given.items() if name != "mask"}
    levels = build(arrays, int(heads), int(window))
    levels[0].train()
    masks = torch.from_numpy(given["mask"]).permute(0, 3, 1, 2)
    with torch.no_grad():
        fill(levels, arrays)
        images = torch.cat([levels[0](mask[None]) for mask in masks])
    np.save(target, images.permute(0, 2, 3, 1).numpy())


if __name__ == "__main__":
    main()
