"""The nouns of makar: what a family, an objective, a sampler and a source are to each other.

Data flows one way: a `Source` gives a `Batch`, an `Objective` turns a `Model` and a batch into a `Loss`, the trainer
steps; a `Sampler` turns a model and `Request`s into `Chunk`s, the engine loops.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from makar.core.config import Config
from makar.core.random import Rng

Batch = dict[str, Tensor]
"""Named tensors; the leading dimension of each is the row."""

State = dict[str, Tensor]
"""A sampler's working memory; every leaf has a leading row dimension, so that rows can join and leave.

When rows join, a leaf that is shorter in some other dimension is padded there with zeros at its end.
"""

Net = TypeVar("Net", bound=nn.Module)
Net_co = TypeVar("Net_co", bound=nn.Module, covariant=True)
Net_contra = TypeVar("Net_contra", bound=nn.Module, contravariant=True)


@dataclass(frozen=True)
class Loss:
    """A sum and what it sums over: accumulation and data parallelism divide by the true count, exactly.

    Args:
        sum: Scalar; the gradient flows through it.
        count: Scalar; tokens, pictures or pairs, whatever `sum` adds up.
        logs: Further sums over the same count, for the log only.
    """

    sum: Float[Tensor, ""]
    count: Float[Tensor, ""]
    logs: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])


@dataclass(frozen=True)
class Model(Generic[Net_co]):
    """What one folder on disk holds: a net, its config, the named parts it needs, and how it likes to be sampled.

    Args:
        family: The record of what can be done with the net.
        config: The family's config.
        net: The weights.
        parts: Codecs and conditioners by name ("codec", "text"); frozen unless a recipe trains them.
        generation: Defaults for `family.settings`.
    """

    family: "Family[Any]"
    config: Config
    net: Net_co
    parts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    generation: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.net.parameters()).device


@runtime_checkable
class Source(Protocol):
    """Rows for training. Pure in the step: the same step gives the same rows, in any process, after any crash.

    A source whose rows depend on history (fresh rollouts, say) is a `StatefulSource`: the checkpoint keeps its state.
    """

    def batch(self, step: int, size: int) -> Batch:
        """The whole batch of one step, all ranks together, on the CPU.

        Args:
            step: Optimizer step, from 0.
            size: Rows, all ranks together.
        """
        ...


@runtime_checkable
class TracedSource(Source, Protocol):
    """A source that can say what its rows are made of, for a run that gives up over some of them."""

    def origins(self, step: int, size: int) -> Sequence[int]:
        """Which documents or pictures a step's batch is made of: places among those encoded, in order, from 0."""
        ...


@runtime_checkable
class StatefulSource(Source, Protocol):
    """A source that declares its history."""

    def state(self) -> dict[str, Tensor]:
        """What must be in a checkpoint to continue exactly."""
        ...

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from a checkpoint's state."""
        ...


@runtime_checkable
class Codec(Protocol):
    """Raw media to tensors and back: a tokenizer, an image normaliser, a trained VAE."""

    def encode(self, items: list[Any]) -> Batch:
        """Raw items to a batch."""
        ...

    def decode(self, batch: Batch) -> list[Any]:
        """A batch to raw items."""
        ...


@runtime_checkable
class LatentCodec(Codec, Protocol):
    """Pictures as smaller maps of other channels, whose variance is 1 about: what a family learns in their place.

    Its batches hold `images`, the maps.
    """

    @property
    def channels(self) -> int:
        """Of a picture."""
        ...

    @property
    def latent_channels(self) -> int:
        """Of a map."""
        ...

    @property
    def factor(self) -> int:
        """Pixels in a row that become one place of a map."""
        ...

    def hash(self) -> str:
        """The SHA-256 of all that its maps depend on."""
        ...

    def moments(
        self, images: Float[Tensor, "rows channels high wide"]
    ) -> tuple[Float[Tensor, "rows latent lines places"], Float[Tensor, "rows latent lines places"]]:
        """Mean and standard deviation of the maps of pictures in -1 to 1."""
        ...

    def images(self, latents: Float[Tensor, "rows latent lines places"]) -> Float[Tensor, "rows channels high wide"]:
        """The pictures of maps."""
        ...

    def save(self, folder: Path) -> None:
        """Write it into an existing empty folder."""
        ...


@runtime_checkable
class TextEncoder(Protocol):
    """Texts as what another net is told: a vector for each token, and one for the whole text."""

    @property
    def length(self) -> int:
        """Tokens of every text: a shorter one is padded."""
        ...

    @property
    def width(self) -> int:
        """Of a token's vector."""
        ...

    @property
    def pooled_width(self) -> int:
        """Of a text's vector."""
        ...

    def hash(self) -> str:
        """The SHA-256 of all that its vectors depend on."""
        ...

    def ids(self, texts: Sequence[str]) -> Int[Tensor, "rows length"]:
        """The tokens of some texts, padded; an empty one is a start and an end.

        Raises:
            InputError: A text has more tokens than it reads.
        """
        ...

    def rows(self, texts: Sequence[str]) -> Int[Tensor, "rows length"]:
        """The tokens of texts that a dataset holds: one that is too long loses its end."""
        ...

    def features(
        self, ids: Int[Tensor, "rows length"]
    ) -> tuple[Float[Tensor, "rows length width"], Float[Tensor, "rows pooled"]]:
        """The vectors of each token, and of each text; without gradient."""
        ...

    def save(self, folder: Path) -> None:
        """Write it into an existing empty folder."""
        ...


@runtime_checkable
class Objective(Protocol[Net_contra]):
    """A loss. `players` are the submodules that take turns: two in a GAN, else one, named "" for the whole net."""

    @property
    def players(self) -> tuple[str, ...]:
        """Paths of submodules of the net, in the order in which they step."""
        ...

    def prepare(self, model: "Model[Net_contra]", batch: Batch, rng: Rng) -> Batch:
        """Once a step, without gradient, over the whole gathered batch: contrastive features, reference scores.

        Most objectives return the batch as it is. For the player "", the loss's `rng` gives the same numbers by the
        same names: a reference model can be shown the noise that the trained one will see.
        """
        ...

    def __call__(self, model: "Model[Net_contra]", micro: Batch, player: str, rng: Rng) -> Loss:
        """The loss of some rows of the batch for the player on turn.

        Validation calls it without gradient: a loss that differentiates on its own account turns it on for itself.
        """
        ...


@runtime_checkable
class LogProb(Protocol[Net_contra]):
    """How likely the model finds each part of each row."""

    @property
    def kind(self) -> Literal["exact", "bound", "score"]:
        """What the values are: log-probabilities, a lower bound on them, or a score that only orders."""
        ...

    def __call__(
        self, model: "Model[Net_contra]", batch: Batch, rng: Rng
    ) -> tuple[Float[Tensor, "batch parts"], Bool[Tensor, "batch parts"]]:
        """Values and the mask of those that count: tokens for language, noise levels for diffusion, one otherwise."""
        ...


@dataclass(frozen=True)
class Request:
    """One thing asked of a model.

    Args:
        prompt: What the family's codec takes: text, token ids, a class, a picture; None for no prompt.
        seed: All randomness of this answer comes from it, whatever else is in the batch.
        settings: An instance of `family.settings`; None for the model's defaults.
        adapter: Which of the net's adapters answers, by name; "base" for none of them, None for the one that is on.
    """

    prompt: Any = None
    seed: int = 0
    settings: Config | None = None
    adapter: str | None = None


@dataclass(frozen=True)
class Chunk:
    """A piece of an answer: some text, a preview, or the finished thing.

    Args:
        row: Which of the requests it belongs to, from 0.
        data: The piece; text for language, a tensor or a picture otherwise.
        done: Whether the answer ends here.
        reason: Why it ended: "stop", "length".
        info: What the family can say of the piece, such as token ids and log-probabilities.
    """

    row: int
    data: Any
    done: bool = False
    reason: str | None = None
    info: Mapping[str, Any] = field(default_factory=dict[str, Any])


@runtime_checkable
class Sampler(Protocol[Net_contra]):
    """How a family makes things, one step at a time; the engine owns the loop."""

    def start(self, model: "Model[Net_contra]", requests: Sequence[Request]) -> State:
        """Read the prompts; the state's rows are the requests in order.

        Raises:
            UserError: A prompt or a setting that does not fit the model.
        """
        ...

    def step(self, model: "Model[Net_contra]", state: State) -> tuple[State, list[Chunk]]:
        """One step for every row; a chunk's `row` is its row in the state.

        Rows that are `done` are then dropped, and others written in their places: what a chunk holds is its own.
        """
        ...


@runtime_checkable
class Guard(Protocol):
    """Sees every request and every chunk before the reader does; may refuse, mark or annotate."""

    def request(self, request: Request) -> Request:
        """Pass a request on, changed or not.

        Raises:
            Refused: The request must not be answered.
        """
        ...

    def chunk(self, request: Request, chunk: Chunk) -> Chunk:
        """Pass a chunk on, changed or not.

        Raises:
            Refused: The answer must stop here.
        """
        ...


@dataclass(frozen=True)
class Cost:
    """What one training step needs, as arithmetic over the config; `recipes/plan` turns it into time and memory.

    Args:
        parameters: Scalars in the net.
        flops: Floating-point operations of forward and backward for one row.
        activations: Bytes kept for backward by one row of a micro-batch.
        units: What one row holds, for rates: ("tokens", 256) or ("images", 1).
        weight_flops: Those of `flops` that form the gradients of matrices, which frozen ones do not need.
    """

    parameters: int
    flops: float
    activations: float
    units: tuple[str, int]
    weight_flops: float = 0.0


Parts = tuple[Mapping[str, Any], Mapping[str, Any]]
"""A model's parts and its defaults of generation."""


def no_parts(folder: Path, config: Any) -> Parts:  # noqa: ARG001
    """Of a family whose folders hold a net and nothing beside it."""
    return {}, {}


@dataclass(frozen=True)
class Folder(Generic[Net]):
    """How a family lies on disk: the ecosystem's own files.

    Args:
        save: Write a model into an existing empty folder.
        load: Read a model from a folder.
        recognises: Whether a folder, by its config, belongs to this family.
        save_parts: Write only what lies beside the net, such as a tokenizer: an adapter's folder holds it too.
        load_parts: Read that, as far as it is there, for a config.
        task: What PEFT calls that which the family does, if it has a word for it.
    """

    save: Callable[[Model[Net], Path], None]
    load: Callable[[Path], Model[Net]]
    recognises: Callable[[Path], bool]
    save_parts: Callable[[Model[Net], Path], None] = lambda model, folder: None  # noqa: ARG005
    load_parts: Callable[[Path, Any], Parts] = no_parts
    task: str | None = None


@dataclass(frozen=True)
class Family(Generic[Net]):
    """Everything that makes a family: read one to know what makar needs of a new one.

    Args:
        name: The tag in recipes.
        config: Settings of the net, importable without torch.
        settings: Settings of generation, importable without torch.
        build: A freshly initialised net, from torch's global generator.
        blocks: The repeated units, for compile, sharding and activation checkpointing; Muon takes their matrices.
        objectives: By name; the first is the default. Called with the recipe's options as keywords.
        sampler: How it generates.
        log_prob: How likely it finds a row, where it can say.
        folder: How it lies on disk.
        cost: What a step costs, from the config and the recipe's row length.
        inputs: The keys that a batch must have.
        tiny: A config and a source on which 150 steps show learning: for the contract suite.
        codec: A trained model as what another family takes for a codec, where it can be one.
        text: A trained model as what tells another family what a text means, where it can.
        compose: A fresh model with the weights that it takes from its parts; those are frozen.
        finish: What is known only after training, from rows of it, such as how far a codec's latents spread.
        reconstructs: Whether it gives back the picture that it is asked with: samples then stand beside the pictures.
    """

    name: str
    config: type[Config]
    settings: type[Config]
    build: Callable[[Any], Net]
    blocks: Callable[[Net], Sequence[nn.Module]]
    objectives: Mapping[str, Callable[..., Objective[Net]]]
    sampler: Sampler[Net] | None
    log_prob: LogProb[Net] | None
    folder: Folder[Net]
    cost: Callable[[Any, int], Cost]
    inputs: tuple[str, ...]
    tiny: Callable[[], tuple[Config, Source]]
    codec: Callable[[Model[Net]], Codec] | None = None
    text: Callable[[Model[Net]], TextEncoder] | None = None
    compose: Callable[[Model[Net]], Model[Net]] = lambda model: model
    finish: Callable[[Model[Net], Source], Model[Net]] = lambda model, source: model  # noqa: ARG005
    reconstructs: bool = False


@dataclass(frozen=True)
class Verdict:
    """What a watch says after a look at the model.

    Args:
        logs: Numbers for the metrics file.
        action: Go on, stop here, or go back to the last good checkpoint and skip what came after.
        score: Lower is better; the checkpoint with the lowest is kept as "best". None: this watch does not judge.
        note: One line for the reader.
    """

    logs: Mapping[str, float] = field(default_factory=dict[str, float])
    action: Literal["go", "stop", "back"] = "go"
    score: float | None = None
    note: str | None = None


Watch = Callable[[int, Model[Any]], Verdict]
"""Looks at the model at intervals: samples, validation, alarms. Made by `recipes/assemble`, run by the trainer."""
