"""CycleGAN (Zhu et al. 2017) in eager PyTorch: IN.npz OUT.npy generator|losses.

IN: ct, mask, [n, h, w, 1] in [-1, 1]; weights as <network>.<layer>.kernel or .bias, the networks being
generator.ct, generator.mask, critic.ct and critic.mask, each named for the side that it makes or judges.
OUT: `generator`: the CT made of mask, NHWC.  `losses`: TERMS of a first step, when the pools show what they are given.
Biases that the publication has and IN has not are drawn at random: in front of these norms they must not matter.
"""

import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

TERMS = (
    *("gan_ct", "gan_mask", "cycle_ct", "cycle_mask", "identity_ct", "identity_mask", "generator_loss"),
    *("critic_ct", "critic_mask", "critic_loss", "generator_gradient", "critic_gradient"),
)


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv0, self.conv1 = nn.Conv2d(channels, channels, 3), nn.Conv2d(channels, channels, 3)
        self.norm = nn.InstanceNorm2d(channels)
        self.pad = nn.ReflectionPad2d(1)

    def forward(self, x):
        y = F.relu(self.norm(self.conv0(self.pad(x))))
        return x + self.norm(self.conv1(self.pad(y)))


class Encoder(nn.Module):
    def __init__(self, width, blocks):
        super().__init__()
        self.first = nn.Conv2d(1, width, 7)
        self.down0 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.down1 = nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1)
        self.blocks = blocks
        for i in range(blocks):
            setattr(self, f"block{i}", Block(4 * width))

    def forward(self, x):
        x = F.relu(F.instance_norm(self.first(nn.ReflectionPad2d(3)(x))))
        x = F.relu(F.instance_norm(self.down0(x)))
        x = F.relu(F.instance_norm(self.down1(x)))
        for i in range(self.blocks):
            x = getattr(self, f"block{i}")(x)
        return x


class Decoder(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.up0 = nn.ConvTranspose2d(4 * width, 2 * width, 3, stride=2, padding=1, output_padding=1)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 3, stride=2, padding=1, output_padding=1)

    def forward(self, x):
        x = F.relu(F.instance_norm(self.up0(x)))
        return F.relu(F.instance_norm(self.up1(x)))


class Generator(nn.Module):
    def __init__(self, width, blocks):
        super().__init__()
        self.encoder, self.decoder = Encoder(width, blocks), Decoder(width)
        self.last = nn.Conv2d(width, 1, 7)

    def forward(self, x):
        x = self.decoder(self.encoder(x))
        return torch.tanh(self.last(nn.ReflectionPad2d(3)(x)))


class Critic(nn.Module):
    def __init__(self, width, layers):
        super().__init__()
        self.layers, before = layers, 1
        for i in range(layers + 1):
            after = width * min(2**i, 8)
            setattr(self, f"conv{i}", nn.Conv2d(before, after, 4, stride=2 if i < layers else 1, padding=1))
            before = after
        self.logits = nn.Conv2d(before, 1, 4, padding=1)

    def forward(self, x):
        x = F.leaky_relu(self.conv0(x), 0.2)
        for i in range(1, self.layers + 1):
            x = F.leaky_relu(F.instance_norm(getattr(self, f"conv{i}")(x)), 0.2)
        return self.logits(x)


def load(module, arrays, network):
    """Fill `module` from the arrays of `network`; each of them must find its layer."""
    given = {name[len(network) + 1 :]: a for name, a in arrays.items() if name.startswith(network + ".")}
    torch.manual_seed(0)
    with torch.no_grad():
        for name, layer in module.named_modules():
            if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                continue
            kernel = torch.from_numpy(given.pop(f"{name}.kernel"))  # HWIO
            transposed = isinstance(layer, nn.ConvTranspose2d)
            layer.weight.copy_(kernel.permute(2, 3, 0, 1) if transposed else kernel.permute(3, 2, 0, 1))
            bias = given.pop(f"{name}.bias", None)
            layer.bias.copy_(torch.randn_like(layer.bias) if bias is None else torch.from_numpy(bias))
    assert not given, sorted(given)
    return module


def count(arrays, prefix):
    """How many layers `prefix`0, `prefix`1, ... there are."""
    return len({name[len(prefix) :].split(".")[0] for name in arrays if name.startswith(prefix)})


def image(array):
    return torch.from_numpy(array).permute(0, 3, 1, 2)


def load_generator(arrays, side):
    width = arrays[f"generator.{side}.encoder.first.kernel"].shape[-1]
    generator = Generator(width, count(arrays, f"generator.{side}.encoder.block"))
    return load(generator, arrays, f"generator.{side}")


def load_critic(arrays, side):
    layers = count(arrays, f"critic.{side}.conv") - 1
    return load(Critic(arrays[f"critic.{side}.conv0.kernel"].shape[-1], layers), arrays, f"critic.{side}")


def losses(arrays):
    to_ct, to_mask = (load_generator(arrays, side) for side in ("ct", "mask"))
    judge_ct, judge_mask = (load_critic(arrays, side) for side in ("ct", "mask"))
    ct, mask = image(arrays["ct"]), image(arrays["mask"])
    squares, distance = nn.MSELoss(), nn.L1Loss()

    def judged(logits, target):
        return squares(logits, torch.full_like(logits, target))

    fake_ct, fake_mask = to_ct(mask), to_mask(ct)
    gan = [judged(judge_ct(fake_ct), 1.0), judged(judge_mask(fake_mask), 1.0)]
    cycle = [distance(to_ct(fake_mask), ct), distance(to_mask(fake_ct), mask)]
    identity = [distance(to_ct(ct), ct), distance(to_mask(mask), mask)]
    generators = sum(gan) + 10.0 * sum(cycle) + 10.0 * 0.5 * sum(identity)
    critics = []
    for judge, real, fake in ((judge_ct, ct, fake_ct.detach()), (judge_mask, mask, fake_mask.detach())):
        critics.append(0.5 * (judged(judge(real), 1.0) + judged(judge(fake), 0.0)))
    norms = [norm(generators, to_ct, to_mask), norm(sum(critics), judge_ct, judge_mask)]
    return torch.stack([*gan, *cycle, *identity, generators, *critics, sum(critics), *norms])


def norm(loss, *modules):
    gradients = torch.autograd.grad(loss, [weight for module in modules for weight in module.parameters()])
    return torch.sqrt(sum((gradient**2).sum() for gradient in gradients))


def main():
    source, target, what = sys.argv[1:]
    arrays = dict(np.load(source))
    if what == "losses":
        computed = losses(arrays).detach()
    else:
        computed = load_generator(arrays, "ct")(image(arrays["mask"])).detach().permute(0, 2, 3, 1)
    np.save(target, computed.numpy())


if __name__ == "__main__":
    main()
