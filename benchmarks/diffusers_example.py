"""What diffusers' own example makes of the same pictures.

`python -m benchmarks.diffusers_example DATASET OUT --steps 8000`, apart from the others, because it trains for as long
as it is told. The setting is that of `examples/unconditional_image_generation` in diffusers, by its defaults: noise
predicted over 1,000 linear steps, batches of 16, AdamW at 1e-4 with betas 0.95 and 0.999, 500 steps of warm-up and a
cosine, an average of the weights by a power of 3/4; pictures flipped at random. Its net has 114 M parameters by
default; here it is a `UNet2DModel` of the widths of the recipe `fashion-diffusion`, without classes, for the example
knows none. OUT becomes a `DDPMPipeline`, which makar measures as it measures its own:

    makar evaluate OUT --data DATASET --suite fidelity
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from torch import Tensor
from torch.nn import functional as F

from benchmarks.augment import tensors
from makar.data.dataset import Dataset

BATCH, WARMUP = 16, 500


def main() -> None:
    """Train for so many steps, and save the pipeline."""
    parser = argparse.ArgumentParser(description="train diffusers' unconditional example on a dataset of makar's")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    pictures, _ = tensors(list(Dataset.open(options.dataset).pictures("train")))
    train(pictures, options.steps).save_pretrained(options.out)


def train(pictures: Tensor, steps: int) -> DDPMPipeline:
    """The example's loop; says on stderr how many seconds of the processor it has spent.

    Args:
        pictures: Shape (n, channels, side, side), values in -1 to 1.
        steps: Of 16 pictures.

    Returns:
        The pipeline of the averaged weights.
    """
    channels, side = pictures.shape[1], pictures.shape[2]
    net = UNet2DModel(
        sample_size=side,
        in_channels=channels,
        out_channels=channels,
        layers_per_block=1,
        block_out_channels=(32, 64, 64),
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )
    scheduler = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear")
    average = EMAModel(net.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
    schedule = get_cosine_schedule_with_warmup(optimizer, WARMUP, steps)
    began = time.process_time()
    for step, batch in zip(range(1, steps + 1), batches(pictures), strict=False):
        noise = torch.randn_like(batch)
        times = torch.randint(0, 1000, (len(batch),))
        loss = F.mse_loss(net(scheduler.add_noise(batch, noise, times), times).sample, noise)  # type: ignore[arg-type]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        average.step(net.parameters())
        if step % 100 == 0:
            spent = time.process_time() - began
            print(f"step {step}: loss {float(loss):.4f}, {spent:.0f} s", file=sys.stderr, flush=True)
    average.copy_to(net.parameters())
    return DDPMPipeline(net, scheduler)


def batches(pictures: Tensor) -> Iterator[Tensor]:
    """Pictures in a new order each epoch, half of them flipped."""
    while True:
        for rows in torch.randperm(len(pictures)).split(BATCH)[:-1]:
            batch = pictures[rows]
            yield torch.where(torch.rand(BATCH, 1, 1, 1) < 0.5, batch.flip(-1), batch)


if __name__ == "__main__":
    main()
