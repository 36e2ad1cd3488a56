"""One training step of StyleGAN v1 (Karras et al. 2019) with WGAN-GP (Gulrajani et al. 2017): IN.npz OUT.npz SETTINGS.

IN, images as [n, h, w, c]:
mapping.*, synthesis.*, critic.*, new_critic.* -- stored weights, the last those that the generator's turn meets;
real, real_gumbel, u -- real maps, the noise of their classes, and the place of x-hat between real and fake;
critic_turn.*, generator_turn.* -- z and z2 [n, z], second [n, layers] (the layers whose latent is z2's), noise0,
noise1, ... (one map for each layer) and gumbel.
SETTINGS: resolution, alpha (null once the resolution is stable), classes (whether maps are class shares), gumbel
(whether their classes are drawn), temperature, epsilon (added to a share before its logarithm), group (of the minibatch
standard deviation), gradient_penalty, drift, drift_on.
OUT: mean scores and their distance, penalty and losses, and the gradients by the weights' names.  Computed in float64.
"""

import json
import math
import sys

import numpy as np
import torch
from torch.nn import functional as F

HE = math.sqrt(2)


def leaky(x):
    return F.leaky_relu(x, 0.2)


def dense(weights, name, x, gain=HE, multiplier=1.0):
    kernel = weights[f"{name}.kernel"]
    scale = gain / math.sqrt(kernel.shape[0]) * multiplier
    return F.linear(x, scale * kernel.T, multiplier * weights[f"{name}.bias"])


def conv(weights, name, x, gain=HE):
    """Without the bias: in the synthesis network noise comes before it, in the critic the halving."""
    kernel = weights[f"{name}.kernel"].permute(3, 2, 0, 1)
    return F.conv2d(x, kernel * gain / math.sqrt(kernel[0].numel()), padding=kernel.shape[2] // 2)


def biased(weights, name, x):
    return x + weights[f"{name}.bias.bias"][None, :, None, None]


def blur(x):
    line = torch.tensor([1.0, 2.0, 1.0], dtype=x.dtype) / 4
    kernel = torch.outer(line, line).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(x, kernel, padding=1, groups=x.shape[1])


def twice(x):
    return F.interpolate(x, scale_factor=2, mode="nearest")


def half(x):
    return F.avg_pool2d(x, 2)


class Step:
    def __init__(self, arrays, settings):
        self.given = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        for name, value in self.given.items():
            if value.is_floating_point():
                self.given[name] = value.double()
        self.settings = settings

    def weights(self, network):
        """The network's stored weights by name, as leaves that gradients are taken of."""
        prefix = f"{network}."
        return {k[len(prefix) :]: v.requires_grad_() for k, v in self.given.items() if k.startswith(prefix)}

    def image(self, name):
        return self.given[name].permute(0, 3, 1, 2)

    def map(self, weights, z):
        """z to w: pixel norm, then dense layers that learn a hundred times slower, all with a rectifier."""
        x = z / torch.sqrt(z.pow(2).mean(1, keepdim=True) + 1e-8)
        for i in range(len(weights) // 2):
            x = leaky(dense(weights, f"dense{i}", x, multiplier=0.01))
        return x

    def latents(self, mapping, turn):
        """One w for each layer, [n, layers, w]."""
        first, other = (self.map(mapping, self.given[f"{turn}.{z}"]) for z in ("z", "z2"))
        return torch.where(self.given[f"{turn}.second"][:, :, None], other[:, None], first[:, None])

    def styled(self, weights, name, x, w, noise):
        """Noise, bias, rectifier, instance norm, style."""
        x = biased(weights, name, x + weights[f"{name}.noise"][None, :, None, None] * noise)
        x = F.instance_norm(leaky(x), eps=1e-8)
        scale, shift = dense(weights, f"{name}.style", w, gain=1)[:, :, None, None].chunk(2, 1)
        return x * (scale + 1) + shift

    def head(self, weights, r, x):
        y = biased(weights, f"b{r}_torgb", conv(weights, f"b{r}_torgb", x, gain=1))
        return y.softmax(1) if self.settings["classes"] else y.tanh()

    def fake(self, mapping, synthesis, turn):
        """The generator's maps [n, c, r, r]."""
        w, layer, r = self.latents(mapping, turn), 0, 4
        x = synthesis["b4_const"].permute(2, 0, 1).expand(len(w), -1, -1, -1)
        while True:
            before = x
            if r > 4:
                x = blur(conv(synthesis, f"b{r}_conv0", twice(x)))
            x = self.styled(synthesis, f"b{r}_style0", x, w[:, layer], self.image(f"{turn}.noise{layer}"))
            x = conv(synthesis, f"b{r}_conv1", x)
            x = self.styled(synthesis, f"b{r}_style1", x, w[:, layer + 1], self.image(f"{turn}.noise{layer + 1}"))
            if r == self.settings["resolution"]:
                break
            layer, r = layer + 2, 2 * r
        return self.mixed(lambda: twice(self.head(synthesis, r // 2, before)), self.head(synthesis, r, x))

    def mixed(self, before, now):
        """The weighted mean of what the last resolution gives and what the new one does, while it fades in."""
        alpha = self.settings["alpha"]
        return now if alpha is None else torch.lerp(before(), now, alpha)

    def shown(self, maps, gumbel):
        """What the critic sees of maps: class shares as hard samples of them, with the soft ones' gradient."""
        if not self.settings["classes"]:
            return maps
        if self.settings["gumbel"]:
            logits = torch.log(maps + self.settings["epsilon"]) + gumbel
            soft = F.softmax(logits / self.settings["temperature"], dim=1)
            hard = torch.zeros_like(soft).scatter_(1, logits.argmax(1, keepdim=True), 1.0)
            maps = hard - soft.detach() + soft
        return 2 * maps - 1

    def score(self, weights, maps):
        """The critic of one population: [n, c, r, r] to [n]."""
        r = self.settings["resolution"]
        x = self.seen(weights, r, maps)
        while r > 4:
            x = leaky(biased(weights, f"b{r}_conv0", conv(weights, f"b{r}_conv0", x)))
            x = leaky(biased(weights, f"b{r}_conv1", half(conv(weights, f"b{r}_conv1", blur(x)))))
            if r == self.settings["resolution"]:
                x = self.mixed(lambda: self.seen(weights, self.settings["resolution"] // 2, half(maps)), x)
            r //= 2
        x = torch.cat([x, self.variety(x)], 1)
        x = leaky(biased(weights, "b4_conv0", conv(weights, "b4_conv0", x)))
        flat = x.permute(0, 2, 3, 1).flatten(1)  # the other implementation's order of a dense layer's inputs
        return dense(weights, "b4_dense1", leaky(dense(weights, "b4_dense0", flat)), gain=1)[:, 0]

    def seen(self, weights, r, maps):
        return leaky(biased(weights, f"b{r}_fromrgb", conv(weights, f"b{r}_fromrgb", maps)))

    def variety(self, x):
        """Minibatch standard deviation: one channel [n, 1, h, w]; groups are every (n / group)-th example."""
        n, _, h, w = x.shape
        groups = x.reshape(self.settings["group"], -1, *x.shape[1:])
        deviation = torch.sqrt(groups.var(0, unbiased=False) + 1e-8).mean((1, 2, 3))
        return deviation.repeat(self.settings["group"]).reshape(n, 1, 1, 1).expand(n, 1, h, w)

    def real(self):
        """Real maps, faded as the generator's are."""
        maps = self.image("real")
        return self.shown(self.mixed(lambda: twice(half(maps)), maps), self.image("real_gumbel"))

    def critic_turn(self):
        """Eq. 1 and its gradients."""
        settings, weights = self.settings, self.weights("critic")
        with torch.no_grad():
            fake = self.fake(self.weights("mapping"), self.weights("synthesis"), "critic_turn")
            fake, real = self.shown(fake, self.image("critic_turn.gumbel")), self.real()
        between = torch.lerp(real, fake, self.given["u"][:, None, None, None]).requires_grad_()
        (slope,) = torch.autograd.grad(self.score(weights, between).sum(), between, create_graph=True)
        penalty = (slope.flatten(1).norm(dim=1) - 1).pow(2).mean()
        real_scores, fake_scores = self.score(weights, real), self.score(weights, fake)
        drifting = real_scores if settings["drift_on"] == "real" else torch.cat([real_scores, fake_scores])
        distance = real_scores.mean() - fake_scores.mean()
        loss = -distance + settings["gradient_penalty"] * penalty + settings["drift"] * drifting.pow(2).mean()
        means = {"real_score": real_scores.mean(), "fake_score": fake_scores.mean(), "wasserstein": distance}
        return {**means, "gradient_penalty": penalty, "critic_loss": loss, **gradients(loss, {"critic": weights})}

    def generator_turn(self):
        """Eq. 2 and its gradients, against the critic after its update."""
        players = {name: self.weights(name) for name in ("mapping", "synthesis")}
        fake = self.shown(self.fake(*players.values(), "generator_turn"), self.image("generator_turn.gumbel"))
        loss = -self.score(self.weights("new_critic"), fake).mean()
        return {"generator_loss": loss, **gradients(loss, players)}


def gradients(loss, networks):
    """The gradient of every weight, named as in IN."""
    named = {f"{network}.{name}": w for network, weights in networks.items() for name, w in weights.items()}
    return dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))


def main():
    step = Step(np.load(sys.argv[1]), json.loads(sys.argv[3]))
    computed = {**step.critic_turn(), **step.generator_turn()}
    np.savez(sys.argv[2], **{name: value.detach().numpy() for name, value in computed.items()})


if __name__ == "__main__":
    main()
