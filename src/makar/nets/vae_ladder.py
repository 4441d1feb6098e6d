"""A ladder of codes, from the coarsest stage to the finest, in the picture's own places.

Both ways down share their weights: what is seen corrects at every stage what the coarser ones expect.
Paper: arXiv 1602.02282, section 2.2; the residual form: arXiv 1606.04934, section 4.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from makar.nets.gaussians import Normal, split
from makar.nets.vae_blocks import Maps, climb, descend
from makar.nets.vae_config import LadderVaeConfig
from makar.nets.vae_flat import Codes, Images, Inference


class Rung(nn.Module):
    """One stage's code: what is expected of it, how what is seen corrects that, and what comes of it.

    Args:
        width: Channels of the stage.
        latents: Numbers of the code at each place.
    """

    def __init__(self, width: int, latents: int) -> None:
        super().__init__()
        self.expect = nn.Conv2d(width, 2 * latents, 3, padding=1)
        self.correct = nn.Conv2d(2 * width, 2 * latents, 3, padding=1)
        self.take = nn.Conv2d(latents, width, 1)

    def prior(self, x: Maps) -> Normal:
        """What the coarser stages expect of the code."""
        return split(self.expect(F.silu(x)))

    def posterior(self, x: Maps, seen: Maps, prior: Normal) -> Normal:
        """The same with what is seen: it begins at the prior, and says by how much it is off."""
        off = split(self.correct(F.silu(torch.cat((x, seen), 1))))
        return Normal(prior.mean + (prior.log_variance / 2).exp() * off.mean, prior.log_variance + off.log_variance)


class LadderVae(nn.Module):
    """A picture to codes at every stage and back.

    A code is the noise that the prior would need to come to the same place: so all numbers of all stages are standard
    normal before a picture is seen, and a coarse one can be changed with the finer ones following.

    Args:
        config: Its shape.
        outputs: Channels of what it says of a picture.
    """

    def __init__(self, config: LadderVaeConfig, outputs: int) -> None:
        super().__init__()
        widths, depth = config.block_out_channels, config.layers_per_block
        befores = (config.in_channels, *widths)
        afters = (outputs, *widths)
        self.up = nn.ModuleList(climb(befores[at], width, depth) for at, width in enumerate(widths))
        self.rungs = nn.ModuleList(map(Rung, widths, config.latent_channels))
        self.down = nn.ModuleList(descend(width, afters[at], depth) for at, width in enumerate(widths))
        coarsest = config.sample_size >> len(widths)
        self.start = nn.Parameter(torch.zeros(1, widths[-1], coarsest, coarsest))
        sides = [config.sample_size >> (at + 1) for at in range(len(widths))]
        self.shapes = [(count, side, side) for count, side in zip(config.latent_channels, sides, strict=True)]
        self.sizes = [count * side**2 for count, side in zip(config.latent_channels, sides, strict=True)]
        self.code_size = sum(self.sizes)

    def see(self, images: Images) -> tuple[Tensor, ...]:
        """What is seen at each stage, finest first."""
        seen: list[Tensor] = []
        x = images
        for stage in self.up:
            x = stage(x)
            seen.append(x)
        return tuple(seen)

    def infer(self, seen: tuple[Tensor, ...], noise: Codes) -> Inference:
        """Draw a code at each stage, and say the picture that they mean."""
        said, codes, divergences, ratios = self._descend(seen, noise)
        return Inference(codes, said, torch.stack(divergences, 1), torch.stack(ratios).sum(0))

    def code_of(self, seen: tuple[Tensor, ...]) -> Codes:
        """The middle of each stage's posterior, given the middles of the coarser ones."""
        rows = len(seen[0])
        return self._descend(seen, seen[0].new_zeros((rows, self.code_size), dtype=torch.float32))[1]

    def draw(self, noise: Codes, pick: Float[Tensor, " rows"]) -> Codes:  # noqa: ARG002
        """Codes from the prior: the noise itself."""
        return noise

    def decode(self, code: Codes) -> Images:
        """What codes say of pictures."""
        return self._descend(None, code)[0]

    def _descend(
        self, seen: tuple[Tensor, ...] | None, noise: Codes
    ) -> tuple[Images, Codes, list[Tensor], list[Tensor]]:
        """From the coarsest stage to the picture; noise is of the posteriors where something is seen, else a code."""
        x = self.start.expand(len(noise), -1, -1, -1)
        parts = list(noise.split(self.sizes, 1))
        divergences: list[Tensor] = []
        ratios: list[Tensor] = []
        for at in reversed(range(len(self.sizes))):
            rung = self.rungs[at]
            assert isinstance(rung, Rung)
            prior = rung.prior(x)
            z, drawn = parts[at].unflatten(1, self.shapes[at]), prior
            if seen is not None:
                drawn = rung.posterior(x, seen[at], prior)
            found = drawn.at(z)
            if seen is not None:
                divergences.append(drawn.divergence(prior).flatten(1).sum(1))
                ratios.append((drawn.log_prob(found) - prior.log_prob(found)).flatten(1).sum(1))
                parts[at] = prior.noise_at(found).flatten(1)
            x = self.down[at](x + rung.take(found))
        return x, torch.cat(parts, 1), divergences, ratios
