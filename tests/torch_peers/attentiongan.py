"""AttentionGAN v2's generator (Tang et al. 2021) in eager PyTorch: IN.npz OUT.npy.

IN: mask, and the weights of generator.ct, as cyclegan.py takes them.  OUT: the CT made of mask, NHWC.
"""

import sys

import numpy as np
import torch
from cyclegan import Decoder, Encoder, count, image, load
from torch import nn


class Generator(nn.Module):
    def __init__(self, contents, width, blocks):
        super().__init__()
        self.contents, self.encoder = contents, Encoder(width, blocks)
        self.content_decoder, self.attention_decoder = Decoder(width), Decoder(width)
        self.content, self.attention = nn.Conv2d(width, contents, 7), nn.Conv2d(width, contents + 1, 1)

    def forward(self, given):
        x = self.encoder(given)
        painted = torch.tanh(self.content(nn.ReflectionPad2d(3)(self.content_decoder(x))))
        shares = torch.softmax(self.attention(self.attention_decoder(x)), dim=1)
        output = given * shares[:, self.contents :]
        for i in range(self.contents):
            output = output + painted[:, i : i + 1] * shares[:, i : i + 1]
        return output


def main():
    source, target = sys.argv[1:]
    arrays = dict(np.load(source))
    contents = arrays["generator.ct.content.kernel"].shape[-1]
    width = arrays["generator.ct.encoder.first.kernel"].shape[-1]
    generator = Generator(contents, width, count(arrays, "generator.ct.encoder.block"))
    computed = load(generator, arrays, "generator.ct")(image(arrays["mask"]))
    np.save(target, computed.detach().permute(0, 2, 3, 1).numpy())


if __name__ == "__main__":
    main()
