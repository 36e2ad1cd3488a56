"""StyleGAN v1 on label maps in eager PyTorch: networks and one WGAN-GP training step."""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 6
LATENT = 512


def width(resolution: int) -> int:
    return min(2 * 8192 // resolution, 512)


def leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2)


class EqualConv(nn.Module):
    """Convolution with the equalised learning rate."""

    def __init__(self, cin: int, cout: int, size: int = 3, gain: float = math.sqrt(2), bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(cout, cin, size, size))
        self.bias = nn.Parameter(torch.zeros(cout)) if bias else None
        self.scale, self.padding = gain / math.sqrt(cin * size * size), size // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)


class EqualLinear(nn.Module):
    """Dense layer with the equalised learning rate."""

    def __init__(self, cin: int, cout: int, gain: float = math.sqrt(2), lr_mul: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(cout, cin) / lr_mul)
        self.bias = nn.Parameter(torch.zeros(cout))
        self.scale, self.lr_mul = gain / math.sqrt(cin) * lr_mul, lr_mul

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias * self.lr_mul)


class Blur(nn.Module):
    """[1, 2, 1] in both directions, as a depthwise convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        line = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("kernel", (line[:, None] * line).expand(channels, 1, 3, 3).contiguous())

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel, padding=1, groups=x.shape[1])


class Epilogue(nn.Module):
    """Noise, bias, leaky rectifier, instance norm, style."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.noise = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.style = EqualLinear(LATENT, 2 * channels, gain=1.0)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        noise = torch.randn(x.shape[0], 1, *x.shape[2:])
        x = leaky(x + noise * self.noise[:, None, None] + self.bias[:, None, None])
        x = F.instance_norm(x, eps=1e-8)
        scale, shift = self.style(w)[:, :, None, None].chunk(2, dim=1)
        return x * (scale + 1) + shift


class Mapping(nn.Module):
    """z to w."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([EqualLinear(LATENT, LATENT, lr_mul=0.01) for _ in range(8)])

    def forward(self, z: Tensor) -> Tensor:
        x = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
        for layer in self.layers:
            x = leaky(layer(x))
        return x


class Synthesis(nn.Module):
    """w of every layer to class shares; with `fade` the last resolution is mixed with the one before."""

    def __init__(self, resolution: int, fade: bool) -> None:
        super().__init__()
        self.const = nn.Parameter(torch.ones(1, width(4), 4, 4))
        self.first = nn.ModuleList([Epilogue(width(4)), EqualConv(width(4), width(4), bias=False), Epilogue(width(4))])
        self.blocks = nn.ModuleList()
        r = 8
        while r <= resolution:
            cin, cout = width(r // 2), width(r)
            layers = [EqualConv(cin, cout, bias=False), Blur(cout), Epilogue(cout)]
            self.blocks.append(nn.ModuleList([*layers, EqualConv(cout, cout, bias=False), Epilogue(cout)]))
            r *= 2
        self.head = EqualConv(width(resolution), CLASSES, 1, gain=1.0)
        self.old_head = EqualConv(width(resolution // 2), CLASSES, 1, gain=1.0) if fade else None

    def forward(self, ws: Tensor, alpha: float) -> Tensor:
        x = self.const.expand(ws.shape[0], -1, -1, -1)
        style0, conv, style1 = self.first
        x = style1(conv(style0(x, ws[:, 0])), ws[:, 1])
        previous = x
        for i, (conv0, blur, style0, conv1, style1) in enumerate(self.blocks):
            previous = x
            x = style0(blur(conv0(F.interpolate(x, scale_factor=2, mode="nearest"))), ws[:, 2 * i + 2])
            x = style1(conv1(x), ws[:, 2 * i + 3])
        shares = self.head(x).softmax(dim=1)
        if self.old_head is None:
            return shares
        before = F.interpolate(self.old_head(previous).softmax(dim=1), scale_factor=2, mode="nearest")
        return before + alpha * (shares - before)


class Generator(nn.Module):
    """Mapping, style mixing and synthesis."""

    def __init__(self, resolution: int, fade: bool) -> None:
        super().__init__()
        self.layers = 2 * (resolution.bit_length() - 2)
        self.mapping, self.synthesis = Mapping(), Synthesis(resolution, fade)
        self.register_buffer("w_avg", torch.zeros(LATENT))

    def forward(self, n: int, alpha: float) -> tuple[Tensor, Tensor]:
        first, second = self.mapping(torch.randn(2 * n, LATENT)).chunk(2)
        crossover = torch.randint(1, self.layers, (n,))
        crossover = torch.where(torch.rand(n) < 0.9, crossover, self.layers)
        own = torch.arange(self.layers)[None, :, None] < crossover[:, None, None]
        return self.synthesis(torch.where(own, first[:, None], second[:, None]), alpha), first

    def sample(self, n: int, psi: float) -> Tensor:
        ws = self.mapping(torch.randn(n, LATENT))[:, None].repeat(1, self.layers, 1)
        ws[:, :8] = self.w_avg + psi * (ws[:, :8] - self.w_avg)
        return self.synthesis(ws, 1.0).argmax(dim=1)


class Critic(nn.Module):
    """Label maps to scores."""

    def __init__(self, resolution: int, fade: bool) -> None:
        super().__init__()
        self.from_labels = EqualConv(CLASSES, width(resolution), 1)
        self.old_from_labels = EqualConv(CLASSES, width(resolution // 2), 1) if fade else None
        self.blocks = nn.ModuleList()
        r = resolution
        while r > 4:
            layers = [EqualConv(width(r), width(r)), Blur(width(r)), EqualConv(width(r), width(r // 2))]
            self.blocks.append(nn.ModuleList(layers))
            r //= 2
        self.conv = EqualConv(width(4) + 1, width(4))
        self.dense0 = EqualLinear(width(4) * 16, width(2))
        self.dense1 = EqualLinear(width(2), 1, gain=1.0)

    def forward(self, labels: Tensor, alpha: float, parts: int = 1) -> Tensor:
        x = leaky(self.from_labels(labels))
        for i, (conv0, blur, conv1) in enumerate(self.blocks):
            x = leaky(F.avg_pool2d(conv1(blur(leaky(conv0(x)))), 2))
            if i == 0 and self.old_from_labels is not None:
                before = leaky(self.old_from_labels(F.avg_pool2d(labels, 2)))
                x = before + alpha * (x - before)
        x = torch.cat([with_deviation(part) for part in x.chunk(parts)])
        x = leaky(self.dense0(leaky(self.conv(x)).flatten(1)))
        return self.dense1(x)[:, 0]


def with_deviation(x: Tensor) -> Tensor:
    """Minibatch standard deviation over groups of 4."""
    n, c, h, w = x.shape
    groups = x.view(min(4, n), -1, c, h, w)
    deviation = torch.sqrt(groups.var(dim=0, unbiased=False) + 1e-8).mean(dim=(1, 2, 3))
    return torch.cat([x, deviation.repeat(min(4, n)).view(n, 1, 1, 1).expand(n, 1, h, w)], dim=1)


def shown(shares: Tensor) -> Tensor:
    """Straight-through Gumbel softmax, in [-1, 1]."""
    return 2 * F.gumbel_softmax(torch.log(shares + 1e-10), hard=True, dim=1) - 1


class StyleGan:
    """Stage 1's training step in the middle of a fade."""

    def __init__(self, resolution: int, batch: int) -> None:
        self.batch, self.alpha = batch, 0.5
        self.gen, self.critic = Generator(resolution, fade=True), Critic(resolution, fade=True)
        self.ema = copy.deepcopy(self.gen).requires_grad_(False)
        self.gen_adam = torch.optim.Adam(self.gen.parameters(), lr=0.002, betas=(0.0, 0.99), eps=1e-8)
        self.critic_adam = torch.optim.Adam(self.critic.parameters(), lr=0.002, betas=(0.0, 0.99), eps=1e-8)
        codes = torch.randint(0, CLASSES, (batch, resolution, resolution))
        self.real = F.one_hot(codes, CLASSES).permute(0, 3, 1, 2).float().contiguous()

    def trained(self) -> int:
        players = [*self.gen.parameters(), *self.critic.parameters()]
        return sum(p.numel() for p in players)

    def __call__(self) -> None:
        half = F.interpolate(F.avg_pool2d(self.real, 2), scale_factor=2, mode="nearest")
        self.train_critic(half + self.alpha * (self.real - half))
        self.train_generator()
        beta = 0.5 ** (self.batch / 10_000)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.ema.parameters()), list(self.gen.parameters()), 1 - beta)

    def train_critic(self, real: Tensor) -> None:
        with torch.no_grad():
            fake, w = self.gen(self.batch, self.alpha)
            self.gen.w_avg.lerp_(w.mean(dim=0), 0.005)
            real, fake = shown(real), shown(fake)
        between = (real + torch.rand(self.batch, 1, 1, 1) * (fake - real)).requires_grad_()
        (slope,) = torch.autograd.grad(self.critic(between, self.alpha).sum(), between, create_graph=True)
        norm = torch.sqrt(slope.square().sum(dim=(1, 2, 3)) + 1e-12)
        scores = self.critic(torch.cat([real, fake]), self.alpha, parts=2)
        real_scores, fake_scores = scores.chunk(2)
        distance = fake_scores.mean() - real_scores.mean()
        loss = distance + 10 * (norm - 1).square().mean() + 0.001 * scores.square().mean()
        self.critic_adam.zero_grad()
        loss.backward()
        self.critic_adam.step()

    def train_generator(self) -> None:
        self.critic.requires_grad_(False)
        fake, _ = self.gen(self.batch, self.alpha)
        loss = -self.critic(shown(fake), self.alpha).mean()
        self.gen_adam.zero_grad()
        loss.backward()
        self.gen_adam.step()
        self.critic.requires_grad_(True)
