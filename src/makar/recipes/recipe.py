"""The recipe: one stage of training as typed, frozen settings. Imports no torch."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, cast

from pydantic import Field, StringConstraints, model_validator

from makar.align.config import OF_PICTURES, PICTURE_ROWS, ROWS, RewardTable, RolloutConfig, text_of
from makar.core.config import Config
from makar.data.config import Augment, CollectOptions, SubjectOptions
from makar.families.table import CONFIGS
from makar.nets.lora_config import LoraConfig
from makar.nets.mmdit_config import ControlConfig
from makar.recipes.buckets import net_shapes
from makar.train.config import TrainConfig

if TYPE_CHECKING:
    AnyModel = Config
else:
    AnyModel = Union[tuple(CONFIGS.values())]  # noqa: UP007

LENGTH = 256
"""Tokens in a row unless a recipe says otherwise."""

MADE = ("scenes", "scene-talks", "subject")
"""Rows that are made of the sources, with what is held out: no dataset is collected and split."""

VOCABULARY = 4096
"""Entries of a tokenizer unless a recipe says otherwise."""

Rows = Literal[
    "text", "chat", "preference", "judged", "prompts", "image", "captioned", "scenes", "talks", "scene-talks", "subject"
]  # fmt: skip

Reference = Annotated[str, StringConstraints(min_length=1)]
"""A model: "@stage" of the same file, "@run" by its name, or a path to a run or model folder."""


class DataConfig(Config):
    """Where the rows come from, and how documents are cut into them."""

    sources: tuple[str, ...] = Field(
        default=(), description="What `makar collect` takes; {stdlib} is Python's own library"
    )
    dataset: str | None = Field(default=None, description="A folder that `makar collect` wrote, in place of sources")
    rows: Rows = Field(
        default="text",
        exclude_if=lambda rows: rows == "text",
        description="What a row holds: running text, a conversation, two answers, a judged answer, a prompt, a picture,"
        " a picture with its caption, such scenes composed of the emoji of the sources, talk about them,"
        " or one of a few pictures of one subject",
    )
    collect: CollectOptions = Field(default=CollectOptions(), description="How the sources are read, cleaned and split")
    length: int = Field(default=LENGTH, gt=0, description="Tokens in a row")
    documents: bool = Field(default=True, description="Whether documents that share a row see only themselves")
    fim_rate: float = Field(default=0.0, ge=0, le=1, description="Share of documents cut for filling in the middle")
    augment: Augment = Field(
        default=Augment(),
        exclude_if=lambda augment: augment == Augment(),
        description="How pictures vary from epoch to epoch",
    )
    buckets: int = Field(
        default=1,
        ge=1,
        le=15,
        exclude_if=lambda buckets: buckets == 1,
        description="Shapes that captioned pictures are cut to, each to the nearest: the net's square, and as many tall"
        " as wide ones of its area at most, from 1:2 to 2:1; a batch has one shape",
    )
    stack: bool = Field(
        default=False,
        exclude_if=lambda stack: not stack,
        description="Whether a row is three gray pictures drawn at random, one in each colour, as in Stacked MNIST",
    )
    cut: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Share of a chat's targets that may be lost to the length; 0.01 if left out",
    )

    siblings: int = Field(
        default=1,
        ge=1,
        le=4,
        exclude_if=lambda siblings: siblings == 1,
        description="Scenes in a row of which each differs from the first in one thing, which their captions say",
    )
    subject: SubjectOptions | None = Field(
        default=None, description="What is said of a subject's pictures, where rows = 'subject'"
    )

    @model_validator(mode="after")
    def subject_is_said(self) -> "DataConfig":
        """A subject has captions, and pictures of its own."""
        if (self.rows == "subject") != (self.subject is not None):
            raise ValueError("give rows = 'subject' and [data.subject] captions = ['a zwx cat'], both or neither")
        if self.rows == "subject" and self.dataset is not None:
            raise ValueError("give a subject's pictures as sources = ['a folder'], for a dataset would be split")
        return self

    @model_validator(mode="after")
    def something_is_held_out(self) -> "DataConfig":
        """Training watches rows that it does not see."""
        if self.sources and self.rows not in MADE and not self.collect.valid_fraction:
            raise ValueError(
                "set collect.valid_fraction above 0, such as 0.1: training needs rows that it does not see"
            )
        return self

    @model_validator(mode="after")
    def siblings_are_scenes(self) -> "DataConfig":
        """Only what is composed can differ in one thing, and only captions say in what."""
        if self.siblings > 1 and self.rows != "scenes":
            raise ValueError(f"give rows = 'scenes', or leave siblings out (got {self.siblings})")
        return self

    @model_validator(mode="after")
    def shapes_are_captioned(self) -> "DataConfig":
        """Only pictures that are kept as they are, with captions, can go to the shapes nearest to their own."""
        if self.buckets == 1:
            return self
        if self.buckets % 2 == 0:
            raise ValueError(f"set buckets to an odd number: the square, and as many tall shapes as wide ones"
                             f" (got {self.buckets})")  # fmt: skip
        if self.rows != "captioned":
            raise ValueError(f"give rows = 'captioned', or leave buckets out (got {self.buckets})")
        if self.collect.pictures.size is not None:
            raise ValueError("leave collect.pictures.size out: pictures that are stored as squares have one shape")
        return self

    @model_validator(mode="after")
    def one_origin(self) -> "DataConfig":
        """Sources or a dataset, not both and not neither."""
        if bool(self.sources) == (self.dataset is not None):
            raise ValueError("give sources = [...] or dataset = 'a collected folder', one of the two")
        return self


class ObjectiveConfig(Config):
    """What is minimised."""

    name: str | None = Field(default=None, description="One of the family's objectives; its first if left out")
    options: dict[str, bool | int | float | str] = Field(default={}, description="Keywords of the objective")


class WatchConfig(Config):
    """How the run looks at itself."""

    validate_every: int | None = Field(
        default=None, gt=0, description="Steps between validations; a tenth of the run if left out"
    )
    validate_rows: int = Field(default=64, gt=0, description="Rows of the validation split that one validation reads")
    sample_every: int | None = Field(default=None, gt=0, description="Steps between samples; once a minute if left out")
    prompts: tuple[str, ...] = Field(default=("",), description="What each sample begins with")
    judged: int = Field(
        default=0,
        ge=0,
        exclude_if=lambda judged: not judged,
        description="Pictures of scenes, half of them of held-out combinations, that a judge looks at with each"
        " validation; the judge is trained once, for all runs",
    )


class WordConfig(Config):
    """A word that a text tower learns, from pictures whose captions say it: textual inversion, arXiv 2208.01618."""

    text: str = Field(min_length=1, description="The word: one that the tower has no token for, such as <mine>")
    initial: str = Field(default="", description="Words whose mean it begins at; the word's own pieces if left out")


class Recipe(Config):
    """One stage: data, a fresh or a given model, an objective and a schedule."""

    seed: int = Field(default=0, ge=0, lt=2**31, description="All randomness of the run comes from it")
    data: DataConfig
    model: AnyModel | None = Field(
        None, discriminator="family" if len(CONFIGS) > 1 else None, description="A fresh network of this family"
    )
    init: Reference | None = Field(default=None, description="The model to start from: @stage, @run, or a folder")
    adapter: LoraConfig | None = Field(
        default=None, description="Train this beside the weights of init, which stay as they are"
    )
    word: WordConfig | None = Field(
        default=None, description="Train this word's vector in the text tower of init, and nothing else"
    )
    control: ControlConfig | None = Field(
        default=None, description="Train a copy of the first blocks of init that is shown this, and nothing else"
    )
    parts: dict[str, Reference] = Field(default={}, description="Parts taken from other models, such as codec = '@vae'")
    objective: ObjectiveConfig = ObjectiveConfig()
    reward: RewardTable | None = Field(
        default=None, min_length=1, description="What answers earn: a weight for each rule, or a table of its options"
    )
    rollouts: RolloutConfig | None = Field(default=None, description="How answers are made to learn from")
    train: TrainConfig
    watch: WatchConfig = WatchConfig()
    sample: dict[str, Any] = Field(default={}, description="Defaults of generation, kept in the model folder")

    @model_validator(mode="after")
    def one_beginning(self) -> "Recipe":
        """Fresh weights or given ones."""
        if (self.model is None) == (self.init is None):
            raise ValueError("give [model] for fresh weights or init = '@stage, @run or a folder', one of the two")
        return self

    @model_validator(mode="after")
    def adapter_stands_on_weights(self) -> "Recipe":
        """An adapter needs a trained model, and an optimizer that suits it."""
        if self.adapter is not None and self.init is None:
            raise ValueError("give init = '@stage, @run or a folder': an adapter stands beside trained weights")
        if self.adapter is not None and self.train.optimizer.name == "muon":
            raise ValueError(
                "set train.optimizer.name = 'adamw': Muon's steps are made for whole matrices, not for an adapter's two"
            )
        return self

    @model_validator(mode="after")
    def learns_alone(self) -> "Recipe":
        """What learns beside a trained model learns alone; a word is learned from pictures that say it."""
        beside = [name for name in ("adapter", "word", "control") if getattr(self, name) is not None]
        if len(beside) > 1 or (beside and self.init is None):
            raise ValueError(f"give init = '@stage, @run or a folder', and one of {beside}: each learns alone")
        captions = self.data.subject.captions if self.data.subject else ()
        if self.word is not None and not (captions and all(self.word.text in caption for caption in captions)):
            raise ValueError(f"set data.rows = 'subject', and say {self.word.text!r} in each of data.subject.captions")
        return self

    @model_validator(mode="after")
    def alignment_fits(self) -> "Recipe":
        """What alignment learns from, begins from and is rewarded by."""
        name = self.objective.name or ""
        wanted = ROWS.get(name)
        if wanted is None:
            if self.reward or self.rollouts:
                raise ValueError(
                    "take [reward] and [rollouts] out, or set objective.name to 'grpo', 'rloo' or 'ppo', for pictures"
                    " to 'dpo' or 'direct'"
                )
            return self
        if name in OF_PICTURES and self.data.rows in PICTURE_ROWS:
            wanted = self.data.rows
        if self.data.rows != wanted:
            raise ValueError(f"set data.rows = {wanted!r}: that is what the objective {name!r} learns from")
        if self.init is None:
            raise ValueError("give init = '@stage, @run or a folder': alignment begins from a trained model")
        made = wanted == "prompts" or wanted in PICTURE_ROWS
        if made != bool(self.reward):
            fix = "add [reward], a weight for each rule" if made else "take [reward] out"
            raise ValueError(f"{fix}: the objective {name!r} learns from {'rewards' if made else 'rows'}")
        if wanted == "prompts" and self.rollouts is not None and self.train.batch_size % self.rollouts.group:
            raise ValueError(f"set train.batch_size to a multiple of rollouts.group {self.rollouts.group}")
        return self

    @model_validator(mode="before")
    @classmethod
    def rollouts_where_rewarded(cls, recipe: Any) -> Any:
        """Rewards are earned in rollouts, by default ones if nothing is said of them."""
        match recipe:
            case {"reward": dict(), **rest} if "rollouts" not in rest:
                return {**recipe, "rollouts": {}}
            case _:
                return recipe

    @model_validator(mode="before")
    @classmethod
    def model_from_data(cls, recipe: Any) -> Any:
        """What the data decide of a model and it leaves unsaid: the context is a row, the vocabulary the default."""
        match recipe:
            case {"model": {"family": str(family), **said}, **rest} if family in CONFIGS:
                defaults = decided(CONFIGS[family], rest.get("data"))
                return {**recipe, "model": {"family": family, **defaults, **said}}
            case {"model": Config() as model, **rest}:
                defaults = decided(type(model), rest.get("data"))
                unsaid = {name: value for name, value in defaults.items() if name not in model.model_fields_set}
                return {**recipe, "model": model.model_copy(update=unsaid)}
            case _:
                return recipe

    @model_validator(mode="before")
    @classmethod
    def eager_in_buckets(cls, recipe: Any) -> Any:
        """Blocks compiled for one shape are none for another: what is unsaid of compiling is no."""
        match recipe:
            case {"data": {"buckets": int(count)}, "train": dict(train)} if count > 1 and "compile" not in train:
                return {**recipe, "train": {**train, "compile": "off"}}
            case _:
                return recipe

    @model_validator(mode="after")
    def shapes_fit(self) -> "Recipe":
        """The shapes of pictures are those of a net that can learn them, from rows and not from rewards."""
        if self.data.buckets == 1:
            return self
        if self.model is not None:
            net_shapes(getattr(self.model, "net", None), self.data.buckets)
        if self.objective.name in ROWS:
            raise ValueError(f"leave data.buckets out: the objective {self.objective.name!r} learns from squares")
        if self.train.compile != "off":
            raise ValueError(f"set train.compile = 'off', for data.buckets has {self.data.buckets} shapes")
        return self

    @model_validator(mode="after")
    def rows_fit_context(self) -> "Recipe":
        """A row must fit into the positions that the model knows."""
        context = getattr(self.model, "max_position_embeddings", None)
        if context is not None and self.data.length > context:
            raise ValueError(f"data.length {self.data.length} is over model.max_position_embeddings {context}")
        return self

    @property
    def references(self) -> tuple[str, ...]:
        """Every model that this stage needs before it can start."""
        judges = [text_of(self.reward or {}, rule, "path") for rule in ("model", "clip")]
        return (*((self.init,) if self.init else ()), *self.parts.values(), *(judge for judge in judges if judge))

    def plain(self) -> dict[str, Any]:
        """The recipe with every default written out, as TOML holds it (which has no null: absent is None)."""
        return self.model_dump(mode="json", exclude_none=True)


def decided(config: type[Config], data: Any) -> dict[str, int]:
    """Defaults of a family's config that follow from a recipe's data; only those that it has and that are known."""
    length: Any = data.length if isinstance(data, DataConfig) else LENGTH
    if isinstance(data, dict):
        length = cast(dict[str, Any], data).get("length", LENGTH)
    known = {"vocab_size": VOCABULARY, "max_position_embeddings": length}
    return {name: value for name, value in known.items() if name in config.model_fields and isinstance(value, int)}


StageName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class Stages(Config):
    """A recipe file of several stages, each a whole recipe; they may begin from each other with `@name`."""

    stages: dict[StageName, Recipe] = Field(min_length=1)


def recipe_schema() -> dict[str, Any]:
    """The JSON schema of a recipe file: one stage at the top level, or several under `stages`."""
    one, several = Recipe.model_json_schema(), Stages.model_json_schema()
    definitions = {**several.pop("$defs"), "Stages": several}
    one.pop("$defs")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "makar recipe",
        "anyOf": [one, {"$ref": "#/$defs/Stages"}],
        "$defs": dict(sorted(definitions.items())),
    }
