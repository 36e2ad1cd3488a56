"""DL-Pix2Pix in eager PyTorch: U-Net with LIA and DWMH, PatchGAN, VGG-19, and one training step."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 6
VGG_BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 1))


class LocalImportance(nn.Module):
    """x * w * g; soft pooling 7/3, then stride 2, so w is made at a sixth of the size."""

    def __init__(self, channels: int, hidden: int = 16) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.squeeze = nn.Conv2d(hidden, hidden, 3, stride=2, padding=1)
        self.expand = nn.Conv2d(hidden, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.reduce(x)
        weight = torch.exp(y)
        y = F.avg_pool2d(y * weight, 7, 3) / F.avg_pool2d(weight, 7, 3)
        y = torch.sigmoid(self.expand(self.squeeze(y)))
        y = F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)
        return x * y * torch.sigmoid(x[:, :1])


class WindowAttention(nn.Module):
    """Window attention with a learned weight for each head and a residual scale that starts at 0."""

    def __init__(self, channels: int, heads: int = 8, window: int = 4) -> None:
        super().__init__()
        self.qkv = nn.ModuleList([nn.Conv2d(channels, channels, 1) for _ in range(3)])
        self.head_weights = nn.Parameter(torch.ones(heads))
        self.gamma = nn.Parameter(torch.zeros(()))
        self.heads, self.window = heads, window

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        rows, cols, s, heads = h // self.window, w // self.window, self.window, self.heads

        def split(y: Tensor) -> Tensor:
            y = y.view(n, heads, c // heads, rows, s, cols, s).permute(0, 3, 5, 1, 4, 6, 2)
            return y.reshape(-1, heads, s * s, c // heads)

        q, k, v = (split(conv(x)) for conv in self.qkv)
        share = (q @ k.transpose(-1, -2) * (c // heads) ** -0.5).softmax(dim=-1)
        y = (self.head_weights[:, None, None] * share) @ v
        y = y.view(n, rows, cols, heads, s, s, c // heads).permute(0, 3, 6, 1, 4, 2, 5).reshape(n, c, h, w)
        return x + self.gamma * y


class UNet(nn.Module):
    """One-hot mask to CT; the bottleneck is 8x8."""

    def __init__(self, depth: int, ngf: int = 64) -> None:
        super().__init__()
        widths = [ngf * min(2**i, 8) for i in range(depth)]
        self.downs, self.ups, self.lias = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for i, cout in enumerate(widths):
            layers: list[nn.Module] = [nn.Conv2d(CLASSES if i == 0 else widths[i - 1], cout, 4, 2, 1, bias=False)]
            if 0 < i < depth - 1:
                layers.append(nn.InstanceNorm2d(cout, affine=True))
            if i < depth - 1:
                layers.append(nn.LeakyReLU(0.2))
                self.lias.append(LocalImportance(cout))
            self.downs.append(nn.Sequential(*layers))
        self.attention = WindowAttention(widths[-1])
        noisy = tuple(range(4, depth - 1)) or (depth - 1,)
        for i in range(depth - 1, 0, -1):
            cin = widths[i] * (1 if i == depth - 1 else 2)
            layers = [nn.ReLU(), nn.ConvTranspose2d(cin, widths[i - 1], 4, 2, 1, bias=False)]
            layers.append(nn.InstanceNorm2d(widths[i - 1], affine=True))
            if i in noisy:
                layers.append(nn.Dropout(0.5))
            self.ups.append(nn.Sequential(*layers))
        self.last = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(2 * ngf, 1, 4, 2, 1), nn.Tanh())

    def forward(self, mask: Tensor) -> Tensor:
        skips, x = [], mask
        for down in self.downs:
            x = down(x)
            skips.append(x)
        x = self.attention(x)
        for up, lia, skip in zip(self.ups, reversed(self.lias), reversed(skips[:-1]), strict=True):
            x = torch.cat([lia(skip), up(x)], dim=1)
        return self.last(x)


def patch_critic(ndf: int = 64) -> nn.Sequential:
    """The 70x70 PatchGAN on mask and image."""
    layers: list[nn.Module] = [nn.Conv2d(CLASSES + 1, ndf, 4, 2, 1), nn.LeakyReLU(0.2)]
    for i, stride in ((1, 2), (2, 2), (3, 1)):
        layers.append(nn.Conv2d(ndf * 2 ** (i - 1), ndf * 2**i, 4, stride, 1, bias=False))
        layers += [nn.InstanceNorm2d(ndf * 2**i, affine=True), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(8 * ndf, 1, 4, 1, 1))


class Vgg19(nn.Module):
    """Random weights; relu1_1, relu2_1, ... relu5_1."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks, cin = nn.ModuleList(), 3
        for cout, count in VGG_BLOCKS:
            self.blocks.append(nn.ModuleList([nn.Conv2d(cin if i == 0 else cout, cout, 3, 1, 1) for i in range(count)]))
            cin = cout
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        y = ((x + 1) / 2).repeat(1, 3, 1, 1).sub(self.mean).div(self.std)
        found = []
        for b, convs in enumerate(self.blocks):
            if b:
                y = F.max_pool2d(y, 2)
            for i, conv in enumerate(convs):
                y = F.relu(conv(y))
                if i == 0:
                    found.append(y)
        return found


class Pix2Pix:
    """Stage 2's training step: critic, then generator."""

    def __init__(self, resolution: int, batch: int) -> None:
        self.gen, self.critic, self.vgg = UNet(resolution.bit_length() - 4), patch_critic(), Vgg19()
        self.gen_adam = torch.optim.Adam(self.gen.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.critic_adam = torch.optim.Adam(self.critic.parameters(), lr=2e-4, betas=(0.5, 0.999))
        codes = torch.randint(0, CLASSES, (batch, resolution, resolution))
        self.mask = F.one_hot(codes, CLASSES).permute(0, 3, 1, 2).float().contiguous()
        self.real = torch.rand(batch, 1, resolution, resolution) * 2 - 1

    def trained(self) -> int:
        return sum(p.numel() for p in [*self.gen.parameters(), *self.critic.parameters()])

    def judged(self, image: Tensor, real: bool) -> Tensor:
        logits = self.critic(torch.cat([self.mask, image], dim=1))
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))

    def __call__(self) -> None:
        fake = self.gen(self.mask)
        self.critic_adam.zero_grad()
        (0.5 * (self.judged(self.real, True) + self.judged(fake.detach(), False))).backward()
        self.critic_adam.step()

        self.critic.requires_grad_(False)
        with torch.no_grad():
            wanted = self.vgg(self.real)
        perceptual = sum(F.l1_loss(a, b) for a, b in zip(self.vgg(fake), wanted, strict=True))
        loss = self.judged(fake, True) + 200 * F.l1_loss(fake, self.real) + 10 * perceptual
        self.gen_adam.zero_grad()
        loss.backward()
        self.gen_adam.step()
        self.critic.requires_grad_(True)
