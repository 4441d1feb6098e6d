"""A reward model: a decoder with one number at an answer's last token, learned from pairs.

Its folder is the ecosystem's sequence classification with one label (`LlamaForSequenceClassification` and its kin).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from makar.align.preference import both, count_of, rewards
from makar.align.rewards import Case, Judge
from makar.align.score import AT_ONCE
from makar.codecs.bpe import Bpe
from makar.core.errors import InputError, ModelError
from makar.core.files import read_object, write_json
from makar.core.nouns import Batch, Family, Folder, Loss, Model
from makar.core.random import Rng, key_of
from makar.core.tensors import check_shapes, save_tensors
from makar.engine.load import find_model
from makar.families.language.ecosystem import ARCHITECTURES, from_ecosystem, kind_of, to_ecosystem
from makar.families.language.family import FAMILY
from makar.families.language.folder import check_tokenizer, tokenizer_mark
from makar.families.weights import read_sharded
from makar.nets.config import DecoderConfig
from makar.nets.decoder import Decoder, Trunk

CAUSAL, CLASSIFIER = "ForCausalLM", "ForSequenceClassification"


class RewardNet(nn.Module):
    """A decoder's trunk, and a head from its hidden states to one number."""

    def __init__(self, config: DecoderConfig, trunk: Trunk | None = None) -> None:
        super().__init__()
        self.config = config
        self.model = trunk or Decoder(config).model
        self.score = nn.Linear(config.hidden_size, 1, bias=False)
        if not self.score.weight.is_meta:
            nn.init.normal_(self.score.weight, 0.0, config.initializer_range)

    def forward(self, tokens: Int[Tensor, "rows time"], last: Int[Tensor, " rows"]) -> Float[Tensor, " rows"]:
        """The reward of each row, as its last token shows it.

        Args:
            tokens: Prompts with their answers, padded on the right.
            last: The place of each row's last token.
        """
        hidden = self.model(tokens)
        rows = torch.arange(len(tokens), device=tokens.device)
        return self.score(hidden[rows, last]).squeeze(1).float()


@dataclass(frozen=True)
class BradleyTerry:
    """The chosen answer's reward over that of the rejected, as a log-odds.

    Paper: Bradley & Terry 1952; for language Ouyang et al. 2022, arXiv:2203.02155, eq. 1.
    """

    players: tuple[str, ...] = ("",)

    def prepare(self, model: Model[RewardNet], batch: Batch, rng: Rng) -> Batch:  # noqa: ARG002
        """The batch as it is."""
        return batch

    def __call__(self, model: Model[RewardNet], micro: Batch, player: str, rng: Rng) -> Loss:  # noqa: ARG002
        """Nats over pairs, and the share that is put in order."""
        rows = both(micro)
        chosen, rejected = model.net(rows["tokens"], ends_of(rows["loss_mask"])).chunk(2)
        loss = -F.logsigmoid(chosen - rejected)
        return Loss(loss.sum(), count_of(loss), rewards(chosen.detach(), rejected.detach()))


@dataclass(frozen=True)
class RewardScore:
    """The reward of each row, as a family's `log_prob`: one value a row, that only orders."""

    kind: Literal["score"] = "score"

    def __call__(
        self,
        model: Model[RewardNet],
        batch: Batch,
        rng: Rng,  # noqa: ARG002
    ) -> tuple[Float[Tensor, "rows 1"], Bool[Tensor, "rows 1"]]:
        """The batch is as for `NextToken`, with a mask that marks the answer."""
        values = model.net(batch["tokens"], ends_of(batch["loss_mask"]))[:, None]
        return values, torch.ones_like(values, dtype=torch.bool)


def ends_of(mask: Tensor) -> Int[Tensor, " rows"]:
    """The place of each row's last token that counts."""
    return mask.shape[1] - 1 - mask.flip(1).long().argmax(1)


def from_language(model: Model[Decoder], seed: int) -> Model[RewardNet]:
    """A reward model that begins with a language model's trunk; its head is fresh.

    Args:
        model: Its trunk is taken, not copied.
        seed: Of the head.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key_of(seed, "score"))
        net = RewardNet(model.net.config, model.net.model)
    return Model(REWARD, model.config, net, model.parts)


def save(model: Model[RewardNet], folder: Path) -> None:
    """Write a reward model into an existing empty folder."""
    config = to_ecosystem(model.net.config)
    codec: Bpe | None = model.parts.get("codec")
    config |= {
        "architectures": [ARCHITECTURES[kind_of(model.net.config)].replace(CAUSAL, CLASSIFIER)],
        "num_labels": 1,
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
        "pad_token_id": codec.pad_id if codec else 0,
    }
    if codec is not None:
        codec.save(folder)
    write_json(folder / "config.json", config)
    tensors = {name: t.float() for name, t in model.net.state_dict().items()}
    save_tensors(folder / "model.safetensors", tensors, tokenizer_mark(model))


def recognises(folder: Path) -> bool:
    """Whether config.json names a sequence classification of a kind of decoder that makar has."""
    try:
        config = read_object(folder / "config.json")
    except ModelError:
        return False
    names = config.get("architectures") or []
    return config.get("model_type") in ARCHITECTURES and any(str(name).endswith(CLASSIFIER) for name in names)


def load(folder: Path) -> Model[RewardNet]:
    """Open a reward model.

    Raises:
        ModelError: It is none, or its files are damaged or do not fit.
    """
    if not recognises(folder):
        raise ModelError("no reward model", where=folder, fix="train one with objective.name = 'reward'")
    found = read_object(folder / "config.json")
    config = from_ecosystem(found, folder / "config.json")
    where, weights = read_sharded(folder)
    with torch.device("meta"):
        net = RewardNet(config)
    check_shapes(where, weights, {name: tensor.shape for name, tensor in net.state_dict().items()})
    net.load_state_dict(weights, assign=True)
    parts: dict[str, Any] = {}
    if (folder / "tokenizer.json").exists():
        parts["codec"] = codec = Bpe.load(folder)
        check_tokenizer(folder, codec, found)
    return Model(REWARD, config, net, parts)


def judge_of(path: str) -> Judge:
    """A reward model as a judge of answers.

    Args:
        path: Its folder or its run's.
    """
    model = load(find_model(Path(path)))
    model.net.requires_grad_(requires_grad=False).eval()
    most = model.net.config.max_position_embeddings

    def judge(cases: Sequence[Case]) -> list[float]:
        found: list[float] = []
        for start in range(0, len(cases), AT_ONCE):
            some = [torch.tensor(case.ids) for case in cases[start : start + AT_ONCE]]
            if max(map(len, some)) > most:
                fix = f"it reads {most} tokens at most: lower rollouts.max_tokens"
                raise InputError("an answer is too long for the reward model", where=path, fix=fix)
            tokens = torch.nn.utils.rnn.pad_sequence(some, batch_first=True)
            with torch.no_grad():
                found += model.net(tokens, torch.tensor([len(ids) - 1 for ids in some])).tolist()
        return found

    return judge


def blocks(net: RewardNet) -> Sequence[nn.Module]:
    """The decoder's layers."""
    return list(net.model.layers)


REWARD: Family[Any] = replace(
    FAMILY,
    name="reward",
    build=RewardNet,
    blocks=blocks,
    objectives={"reward": BradleyTerry},
    sampler=None,
    log_prob=RewardScore(),
    folder=Folder(save=save, load=load, recognises=recognises),
)
"""The record of reward models: the language family with another head."""
