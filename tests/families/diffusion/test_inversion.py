"""A word that is learned: alone, by the gradient, and in the files of diffusers and transformers."""

import json

import diffusers
import pytest
import torch
import transformers
from diffusers.loaders import TextualInversionLoaderMixin
from safetensors.torch import load_file, save_file

from makar.core.errors import InputError, ModelError, RecipeError
from makar.core.nouns import Model, Request, TextEncoder
from makar.core.random import Rng
from makar.core.tensors import load_tensors
from makar.engine.load import open_model
from makar.engine.run import Engine
from makar.families.diffusion.family import FAMILY
from makar.families.diffusion.inversion import LEARNED, TABLE, Inversion, LearningText, learning, settled, with_word
from makar.families.diffusion.towers import Towers
from makar.interop.convert import import_model
from makar.recipes.execute import train
from makar.recipes.load import load_recipe
from makar.recipes.run import Workspace
from makar.train.metrics import read_metrics
from tests.families.diffusion.conftest import make
from tests.families.diffusion.reading import reader
from tests.families.diffusion.test_latent import saved
from tests.families.diffusion.test_piped import SHAPE, piped, tower

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers, at numpy
WORD = "<mine>"
SAID = ["a red <mine>", "two blue cats", "<mine> in space", "a <mine>'s cat"]


def test_a_tokenizer_knows_one_more_word(tmp_path):
    codec = tower().codec
    more = codec.with_word(WORD)
    assert more.words == {WORD: codec.vocab_size}
    assert more.vocab_size == codec.vocab_size + 1
    assert more.ids([WORD.upper()])[0, 1] == codec.vocab_size
    assert torch.equal(more.ids(SAID[1:2]), codec.ids(SAID[1:2]))
    assert not more.unknown("<")
    assert len(more.with_word("zwx").words) == 2
    more.save(tmp_path)
    theirs = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    wanted = theirs(SAID, padding="max_length", max_length=12, return_tensors="pt")["input_ids"]
    assert torch.equal(more.ids(SAID), wanted)


@pytest.mark.parametrize(
    ("word", "words"),
    [("cat", "a token already"), ("a cat", "cannot be a word"), ("Mine", "cannot be a word"), ("", "cannot be a word"),
     ("<|endoftext|>", "cannot be a word")],
)  # fmt: skip
def test_what_cannot_be_a_new_word_is_said(word, words):
    codec = tower().codec
    with pytest.raises(InputError, match=words):
        codec.with_word(word)
    with pytest.raises(InputError, match="a token already"):
        codec.with_word(WORD).with_word(WORD)


@torch.no_grad()
def test_a_tower_says_of_other_texts_what_it_said():
    text = tower()
    more = with_word(text, WORD, torch.full((16,), 0.5))
    for ours, theirs in zip(more.features(more.ids(SAID)), text.features(text.ids(SAID)), strict=True):
        assert torch.equal(ours[1], theirs[1])
        assert not torch.equal(ours[0], theirs[0])
    assert more.hash() != text.hash()
    with pytest.raises(InputError, match="another width"):
        with_word(text, WORD, torch.zeros(8))


def test_the_gradient_goes_to_the_word_and_nowhere_else():
    model = learning(reader(tower=tower(), **SHAPE), WORD, "cat")
    text = model.parts["text"]
    assert isinstance(text, TextEncoder)
    assert [name for name, p in model.net.named_parameters() if p.requires_grad] == ["word"]
    assert torch.equal(model.net.word, tower().net.get_parameter(TABLE)[tower().codec.ids(["cat"])[0, 1]])
    rng, images = Rng(0, 0, torch.arange(2)), torch.randn(2, 3, 4, 4)
    for said, moves in (("a <mine> in space", True), ("a cat in space", False)):
        loss = Inversion()(model, {"images": images, "tokens": text.ids([said] * 2)}, "", rng)
        (gradient,) = torch.autograd.grad(loss.sum, [model.net.word])
        assert bool(gradient.abs().sum() > 1e-6) == moves
    step = 1e-3 * gradient.new_ones(16)
    batch = {"images": images, "tokens": text.ids(["a <mine>"] * 2)}
    (gradient,) = torch.autograd.grad(Inversion()(model, batch, "", rng).sum, [model.net.word])
    with torch.no_grad():
        sums = []
        for sign in (1, -1):
            model.net.word.add_(sign * step)
            sums.append(Inversion()(model, batch, "", rng).sum)
            model.net.word.sub_(sign * step)
    assert float(sums[0] - sums[1]) == pytest.approx(float(2 * step @ gradient), rel=0.02, abs=1e-4)


def test_what_is_learned_settles_in_the_tower(tmp_path):
    model = learning(reader(tower=tower(), **SHAPE), WORD, "")
    with torch.no_grad():
        model.net.word.copy_(torch.linspace(-1, 1, 16))
    text = model.parts["text"]
    assert isinstance(text, LearningText)
    done = settled(model, FAMILY.tiny()[1])
    assert set(done.net.state_dict()) == set(reader(tower=tower(), **SHAPE).net.state_dict())
    for ours, theirs in zip(done.parts["text"].features(text.ids(SAID)), text.features(text.ids(SAID)), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
    back = open_model(saved(done, tmp_path / "model"))
    assert back.parts["text"].codec.words == {WORD: tower().codec.vocab_size}
    assert torch.equal(load_file(tmp_path / "model" / LEARNED)[WORD], torch.linspace(-1, 1, 16))
    settings = FAMILY.settings(steps=2)
    pictures = [Engine(back).generate([Request(said, 1, settings)])[0].data.tobytes() for said in SAID[:2]]
    assert pictures[0] != pictures[1]
    assert settled(back, FAMILY.tiny()[1]) is back


class Loader(diffusers.DiffusionPipeline, TextualInversionLoaderMixin):
    """What diffusers' pipelines load words by."""

    def __init__(self, tokenizer, text_encoder):
        super().__init__()
        self.register_modules(tokenizer=tokenizer, text_encoder=text_encoder)


@torch.no_grad()
def test_diffusers_loads_the_word_and_a_pipeline_knows_it(tmp_path):
    vector = torch.linspace(-1, 1, 16)
    base, known = piped(), with_word(tower(), WORD, vector)
    plain = saved(base, tmp_path / "base")
    folder = saved(Model(FAMILY, base.config, base.net, {**base.parts, "text": known}), tmp_path / "model")
    pipeline = diffusers.StableDiffusion3Pipeline.from_pretrained(folder, text_encoder_3=None, tokenizer_3=None)
    ids = pipeline.tokenizer(SAID, padding="max_length", max_length=12, return_tensors="pt")["input_ids"]
    assert torch.equal(ids, known.ids(SAID))
    wanted = known.features(ids)[1]
    assert torch.allclose(pipeline.text_encoder(ids).text_embeds, wanted, atol=1e-5)
    tokenizer = transformers.CLIPTokenizer.from_pretrained(plain / "tokenizer")
    encoder = transformers.CLIPTextModelWithProjection.from_pretrained(plain / "text_encoder")
    loader = Loader(tokenizer, encoder)
    loader.load_textual_inversion(folder / LEARNED)
    theirs = tokenizer(SAID, padding="max_length", max_length=12, return_tensors="pt")["input_ids"]
    assert torch.allclose(encoder(theirs).text_embeds, wanted, atol=1e-5)


def test_a_word_of_others_comes_in(tmp_path, capsys):
    base = saved(reader(tower=tower(), **SHAPE), tmp_path / "base")
    for number, vector in enumerate((torch.ones(16), torch.ones(1, 16))):
        save_file({WORD: vector}, tmp_path / f"{number}.safetensors")
        model = open_model(import_model(tmp_path / f"{number}.safetensors", tmp_path / f"in{number}", base=base))
        text = model.parts["text"]
        assert torch.equal(text.net.get_parameter(TABLE)[text.codec.words[WORD]], torch.ones(16))
    save_file({WORD: torch.ones(8)}, tmp_path / "narrow.safetensors")
    save_file({"cat": torch.ones(16)}, tmp_path / "taken.safetensors")
    for file, words in {"narrow": "another width", "taken": "a token already"}.items():
        with pytest.raises(InputError, match=words):
            import_model(tmp_path / f"{file}.safetensors", tmp_path / "in", base=base)


def test_models_without_one_clip_learn_no_word():
    two = Towers(tower(), tower(seed=1, width=8))
    with pytest.raises(ModelError, match="reads no texts"):
        learning(make(), WORD, "cat")
    with pytest.raises(ModelError, match=r"learned in one CLIP \(got 'Towers'\)"):
        learning(reader(tower=two, joint_attention_dim=24, pooled_projection_dim=12), WORD, "cat")
    with pytest.raises(InputError, match="no words to begin at"):
        learning(reader(tower=tower(), **SHAPE), WORD, " ")


RECIPE = """
init = "{base}"
data = {{ sources = ["{pictures}"], rows = "subject", subject = {{ captions = ["a <mine>", "<mine> in space"] }} }}
word = {{ text = "<mine>", initial = "red cat" }}
[train]
steps = 6
batch_size = 4
checkpoint_steps = 2
ema_halflife = 2
compile = "off"
precision = "fp32"
optimizer = {{ learning_rate = 0.05 }}
[watch]
validate_every = 6
validate_rows = 4
sample_every = 6
prompts = ["a <mine>"]
[sample]
steps = 2
"""


class Killed(BaseException):
    """Stands for a kill: nothing is saved on the way out."""


@pytest.fixture
def learned(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("makar.recipes.pace.PROBE_SECONDS", 0.0)
    (tmp_path / "mine").mkdir()
    for number in range(4):
        Image.new("RGB", (16, 16), (40 * number, 200, 30)).save(tmp_path / "mine" / f"{number}.png")
    base = saved(reader(tower=tower(), **SHAPE), tmp_path / "base")

    def run(*sets, name="word", **more):
        (tmp_path / f"{name}.toml").write_text(RECIPE.format(base=base, pictures=tmp_path / "mine"))
        return train(load_recipe(tmp_path / f"{name}.toml", sets), Workspace(tmp_path), **more)[0].run

    return run


def test_a_run_learns_the_word_alone_and_resumes_to_the_bit(learned, tmp_path):
    run, base = learned(), tmp_path / "base"
    assert (run.model / "diffusion_pytorch_model.safetensors").read_bytes() == (
        base / "diffusion_pytorch_model.safetensors"
    ).read_bytes()
    ours, theirs = (load_tensors(place / "text_encoder" / "model.safetensors") for place in (run.model, base))
    place = tower().codec.vocab_size
    for name, tensor in theirs.items():
        mine = ours[name][: len(tensor)] if name == TABLE else ours[name]
        rows = [row for row in range(len(tensor)) if row != place] if name == TABLE else slice(None)
        assert torch.equal(mine[rows], tensor[rows]), name
    start = theirs[TABLE][tower().codec.ids(["red cat"])[0, 1:3]].mean(0)
    assert (ours[TABLE][place] - start).abs().max() > 0.05
    state = load_tensors(run.folder / "checkpoints" / "step-00000006" / "state.safetensors")
    assert {name for name in state if name.startswith("net/")} == {"net/word", "net/pos_embed.pos_embed"}
    identity = json.loads((run.folder / "checkpoints" / "step-00000006" / "state.json").read_text())["identity"]
    assert len(identity["base"]) == 64

    def killer(state):
        if state.step == 3:
            raise Killed

    with pytest.raises(Killed):
        learned(name="killed", progress=killer)
    again = learned(name="killed")
    pairs = zip(read_metrics(run.metrics), read_metrics(again.metrics), strict=True)
    assert all(one["loss_hex"] == other["loss_hex"] for one, other in pairs)
    assert (again.model / LEARNED).read_bytes() == (run.model / LEARNED).read_bytes()


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["word.text=cat", "data.subject.captions=['a cat']"], "a token already"),
        (["word.text=other"], "say 'other' in each"),
        (["word.txt=cat"], "did you mean 'text'"),
        (["adapter.rank=2"], "each learns alone"),
        (["objective.name=consistency"], "taking noise off"),
    ],
)
def test_recipes_that_do_not_fit_are_refused(learned, sets, words):
    with pytest.raises((RecipeError, InputError), match=words):
        learned(*sets)
