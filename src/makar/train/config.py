"""Settings of training. Imports no torch, so that a recipe is read and checked in no time."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from makar.core.config import Config

Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Length = Annotated[float, Field(gt=0, lt=0.28)]


class Optimizer(Config):
    """How a gradient becomes a step.

    "adamw": weight decay on matrices only. Paper: Loshchilov & Hutter 2019, arXiv:1711.05101.
    "muon": Muon for the matrices of the family's blocks and AdamW for all else; its updates are scaled to the size of
    AdamW's, so that one learning rate and one decay serve both. Paper: Liu et al. 2025, arXiv:2502.16982, eq. 4.

    Args:
        name: Which of the two.
        learning_rate: The peak; the schedule scales it.
        weight_decay: Decoupled, times the learning rate.
        betas: Decay of AdamW's first and second moment.
        epsilon: Added to the root of AdamW's second moment.
    """

    name: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.1, ge=0)
    betas: tuple[Decay, Decay] = (0.9, 0.95)
    epsilon: float = Field(default=1e-8, gt=0)


class Cosine(Config):
    """Linear warm-up, then half a cosine down to the floor.

    Args:
        warmup: Share of the steps.
        floor: What is left at the end, as a share of the peak.
    """

    name: Literal["cosine"] = "cosine"
    warmup: Share = 0.02
    floor: Share = 0.1


class Wsd(Config):
    """Warm-up, stable, decay: constant at the peak, then linear down to the floor.

    Paper: Hu et al. 2024, arXiv:2404.06395, section 4; linear decay: Hägele et al. 2024, arXiv:2405.18392.

    Args:
        warmup: Share of the steps.
        decay: Share of the steps, at the end.
        floor: What is left at the end, as a share of the peak.
    """

    name: Literal["wsd"] = "wsd"
    warmup: Share = 0.02
    decay: Share = 0.2
    floor: Share = 0.0


class Constant(Config):
    """Linear warm-up, then constant.

    Args:
        warmup: Share of the steps.
    """

    name: Literal["constant"] = "constant"
    warmup: Share = 0.02


class TrainConfig(Config):
    """How a model is trained, whatever its family.

    Args:
        steps: Optimizer steps.
        batch_size: Rows a step, all processes and micro-batches together.
        micro_batch_size: Rows at once in one process: lower it to save memory. The result is the same up to rounding,
            but for dropout, which draws its noise for the rows at once. None: all.
        optimizer: AdamW or Muon, and its numbers.
        schedule: Learning rate over the steps.
        clip_norm: Largest norm of a player's gradient.
        ema_halflife: Steps; of a running average of the weights, which is then what is judged and saved. None: off.
        ema_lengths: Of averages that follow a power of the step, in place of the one by half-life: how much of the run
            each covers, say [0.05, 0.1]. The first is judged and saved; all are kept in `averages/` on the way, from
            which that of another length is made afterwards. Paper: Karras et al. 2024, arXiv:2312.02696, section 3.
        precision: Of forward and backward; the weights stay fp32. "auto": bf16 where this machine is faster with it.
        compile: torch.compile for each block; "on" refuses what does not compile. "auto": where a forecast says
            that the run will earn it back.
        recompute: Activation checkpointing: keep only the blocks' inputs for backward, and compute the rest again.
        patience: Looks of a judging watch without improvement before an early stop. None: never.
        checkpoint_steps: Steps between checkpoints.
        checkpoint_seconds: Seconds after which a checkpoint is written anyhow.
        log_every: Steps between lines of the metrics file.
    """

    steps: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    micro_batch_size: int | None = Field(default=None, gt=0)
    optimizer: Optimizer = Optimizer()
    schedule: Annotated[Cosine | Wsd | Constant, Field(discriminator="name")] = Cosine()
    clip_norm: float = Field(default=1.0, gt=0)
    ema_halflife: float | None = Field(default=None, gt=0)
    ema_lengths: tuple[Length, ...] = Field(default=(), exclude_if=lambda lengths: not lengths)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"
    recompute: bool = False
    patience: int | None = Field(default=None, gt=0)
    checkpoint_steps: int = Field(default=1000, gt=0)
    checkpoint_seconds: float = Field(default=300, gt=0)
    log_every: int = Field(default=1, gt=0)

    @field_validator("ema_lengths")
    @classmethod
    def lengths_differ(cls, lengths: tuple[float, ...]) -> tuple[float, ...]:
        """Each is kept once."""
        if len(set(lengths)) < len(lengths):
            raise ValueError("give each length once")
        return lengths

    @property
    def averages(self) -> int:
        """Running averages of the weights that are kept."""
        return len(self.ema_lengths) or int(self.ema_halflife is not None)
