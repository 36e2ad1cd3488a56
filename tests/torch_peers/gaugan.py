"""GauGAN's three networks (Park et al. 2019) in eager PyTorch: IN.npz OUT.npy generator|critic|encoder.

IN: x [n, h, w, c]; w.<layer>.kernel and .bias; u.<layer>.kernel, the vectors [out] of spectral_norm.
OUT: every output flattened and joined, in NHWC.
"""

import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import spectral_norm

CLASSES = 6


class Spade(nn.Module):
    def __init__(self, channels, hidden):
        super().__init__()
        self.norm = nn.InstanceNorm2d(channels, affine=False)
        self.hidden = nn.Conv2d(CLASSES, hidden, 3, padding=1)
        self.gamma = nn.Conv2d(hidden, channels, 3, padding=1)
        self.beta = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x, mask):
        shared = F.relu(self.hidden(F.interpolate(mask, size=x.shape[2:], mode="nearest")))
        return self.norm(x) * (1 + self.gamma(shared)) + self.beta(shared)


class Block(nn.Module):
    def __init__(self, before, after, hidden):
        super().__init__()
        middle = min(before, after)
        self.conv0 = spectral_norm(nn.Conv2d(before, middle, 3, padding=1))
        self.conv1 = spectral_norm(nn.Conv2d(middle, after, 3, padding=1))
        self.spade0, self.spade1 = Spade(before, hidden), Spade(middle, hidden)
        self.learned = before != after
        if self.learned:
            self.shortcut = spectral_norm(nn.Conv2d(before, after, 1, bias=False))
            self.spade_shortcut = Spade(before, hidden)

    def forward(self, x, mask):
        straight = self.shortcut(self.spade_shortcut(x, mask)) if self.learned else x
        y = self.conv0(F.leaky_relu(self.spade0(x, mask), 0.2))
        return straight + self.conv1(F.leaky_relu(self.spade1(y, mask), 0.2))


class Generator(nn.Module):
    """With five doublings: before every block but the first and the third."""

    def __init__(self, width, hidden):
        super().__init__()
        self.start = nn.Conv2d(CLASSES, 16 * width, 3, padding=1)
        self.head, self.middle0, self.middle1 = (Block(16 * width, 16 * width, hidden) for _ in range(3))
        self.up0 = Block(16 * width, 8 * width, hidden)
        self.up1 = Block(8 * width, 4 * width, hidden)
        self.up2 = Block(4 * width, 2 * width, hidden)
        self.up3 = Block(2 * width, width, hidden)
        self.image = nn.Conv2d(width, 1, 3, padding=1)
        self.twice = nn.Upsample(scale_factor=2)

    def forward(self, mask):
        small = F.interpolate(mask, size=(mask.shape[2] // 32, mask.shape[3] // 32))
        x = self.head(self.start(small), mask)
        x = self.middle1(self.middle0(self.twice(x), mask), mask)
        for block in (self.up0, self.up1, self.up2, self.up3):
            x = block(self.twice(x), mask)
        return [torch.tanh(self.image(F.leaky_relu(x, 0.2)))]


class Scale(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.conv0 = nn.Conv2d(channels, width, 4, 2, 2)
        for i in (1, 2, 3):
            before, after = width * 2 ** (i - 1), width * 2**i
            self.add_module(f"conv{i}", spectral_norm(nn.Conv2d(before, after, 4, 2 if i < 3 else 1, 2, bias=False)))
        self.logits = nn.Conv2d(8 * width, 1, 4, 1, 2)

    def forward(self, x):
        outputs = [F.leaky_relu(self.conv0(x), 0.2)]
        for conv in (self.conv1, self.conv2, self.conv3):
            outputs.append(F.leaky_relu(F.instance_norm(conv(outputs[-1])), 0.2))
        return [*outputs, self.logits(outputs[-1])]


class Critic(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.scale0, self.scale1 = Scale(channels, width), Scale(channels, width)

    def forward(self, x):
        half = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
        return self.scale0(x) + self.scale1(half)


class Encoder(nn.Module):
    """For 64 px: four convolutions down to 4x4."""

    def __init__(self, width, z_dim):
        super().__init__()
        channels = [1, width, 2 * width, 4 * width, 8 * width]
        for i in range(4):
            conv = nn.Conv2d(channels[i], channels[i + 1], 3, stride=2, padding=1, bias=False)
            self.add_module(f"down{i}", spectral_norm(conv))
        self.mean, self.log_variance = (nn.Linear(8 * width * 16, z_dim) for _ in range(2))

    def forward(self, x):
        for conv in (self.down0, self.down1, self.down2, self.down3):
            x = F.leaky_relu(F.instance_norm(conv(x)), 0.2)
        flat = x.permute(0, 2, 3, 1).flatten(1)  # the other implementation's order of a dense layer's inputs
        return [self.mean(flat)[..., None, None], self.log_variance(flat)[..., None, None]]


def fill(network, arrays):
    """Weights by the layers' names; v of each singular value from its u, as PyTorch's own iteration makes it."""
    left = {name for name, _ in network.named_parameters()}
    for name in (key for key in arrays.files if key.startswith("w.")):
        path, kind = name[2:].rsplit(".", 1)
        layer, value = network.get_submodule(path), torch.from_numpy(arrays[name])
        if kind == "kernel":
            value = value.permute(3, 2, 0, 1) if value.ndim == 4 else value.T
        singular = f"u.{path}.kernel"
        parameter = {"bias": "bias", "kernel": "weight_orig" if singular in arrays.files else "weight"}[kind]
        getattr(layer, parameter).copy_(value)
        left.discard(f"{path}.{parameter}")
        if kind == "kernel" and singular in arrays.files:
            layer.weight_u.copy_(torch.from_numpy(arrays[singular]))
            layer.weight_v.copy_(F.normalize(value.flatten(1).T @ layer.weight_u, dim=0))
    for name in left:  # biases that a norm removes, which the other implementation leaves out: whatever they are
        assert name.endswith(("conv0.bias", "conv1.bias", "start.bias", "spade_shortcut.beta.bias")), name
        network.get_parameter(name).uniform_(-1, 1)


def main():
    arrays = np.load(sys.argv[1])
    x = torch.from_numpy(arrays["x"]).permute(0, 3, 1, 2)
    if sys.argv[3] == "generator":
        network = Generator(arrays["w.image.kernel"].shape[2], arrays["w.head.spade0.hidden.bias"].size)
    elif sys.argv[3] == "critic":
        network = Critic(x.shape[1], arrays["w.scale0.conv0.bias"].size)
    else:
        network = Encoder(arrays["w.down0.kernel"].shape[3], arrays["w.mean.bias"].size)
    network.eval()
    with torch.no_grad():
        fill(network, arrays)
        outputs = network(x)
    np.save(sys.argv[2], np.concatenate([y.permute(0, 2, 3, 1).flatten().numpy() for y in outputs]))


if __name__ == "__main__":
    main()
