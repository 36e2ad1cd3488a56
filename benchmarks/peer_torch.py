"""PyTorch's worker: a script for an interpreter with torch, without other requirements."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from serve import serve
from torch_inception import Inception
from torch_pix2pix import CLASSES, Pix2Pix, UNet
from torch_stylegan import Generator, StyleGan


def prepare(name: str, resolution: int, batch: int) -> tuple[Callable[[], None], int]:
    """The step of a case."""
    torch.manual_seed(0)
    if name == "generate":
        return generation(resolution, batch)
    if name == "features":
        return features(resolution, batch)
    step = {"stylegan": StyleGan, "dl_pix2pix": Pix2Pix}[name](resolution, batch)
    return step, step.trained()


def generation(resolution: int, batch: int) -> tuple[Callable[[], None], int]:
    """Latents to masks to images."""
    masks, images = Generator(resolution, fade=False), UNet(resolution.bit_length() - 4)

    @torch.inference_mode()
    def run() -> None:
        codes = masks.sample(batch, psi=0.7)
        images(F.one_hot(codes, CLASSES).permute(0, 3, 1, 2).float().contiguous()).numpy()

    return run, sum(p.numel() for net in (masks, images) for p in net.parameters())


def features(resolution: int, batch: int) -> tuple[Callable[[], None], int]:
    """8-bit images to Inception features."""
    net = Inception().eval()
    images = torch.randint(0, 256, (batch, resolution, resolution), dtype=torch.uint8)

    @torch.inference_mode()
    def run() -> None:
        net(images).numpy()

    return run, sum(p.numel() for p in net.parameters() if p.ndim > 1)


if __name__ == "__main__":
    serve(prepare)
