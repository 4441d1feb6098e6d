"""Damaged, dangerous and unknown folders: each refused in one line that says what, where and the fix."""

import json
import pickle
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from makar.codecs.bpe import SMALLEST, Bpe, train_bpe
from makar.core.errors import ModelError
from makar.core.nouns import Model
from makar.core.tensors import tensor_metadata
from makar.families.language.config import LanguageConfig
from makar.families.language.family import FAMILY
from makar.nets.decoder import Decoder

CONFIG = LanguageConfig(vocab_size=SMALLEST, hidden_size=16, num_hidden_layers=2, num_attention_heads=2)
DOWN = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    FAMILY.folder.save(Model(FAMILY, CONFIG, Decoder(CONFIG)), tmp_path)
    return tmp_path


def refused(folder) -> str:
    with pytest.raises(ModelError) as caught:
        FAMILY.folder.load(folder)
    message = str(caught.value)
    assert str(folder) in message
    assert "\n" not in message
    return message


def rewrite(folder, change, name: str = "model.safetensors") -> None:
    weights = load_file(folder / name)
    change(weights)
    save_file(weights, folder / name)


def set_config(folder, **fields) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def shard(folder) -> dict[str, str]:
    """Split the weights into two files and an index."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    halves = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in halves.items():
        save_file({name: weights[name] for name in part}, folder / file)
    places = {name: file for file, part in halves.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return places


def test_there_and_back_is_bit_for_bit(folder):
    again = FAMILY.folder.load(folder)
    torch.manual_seed(0)
    assert again.config == CONFIG
    assert all(map(torch.equal, again.net.state_dict().values(), Decoder(CONFIG).state_dict().values()))
    assert again.family is FAMILY
    assert not again.parts
    assert all(p.requires_grad for p in again.net.parameters())


def test_loading_draws_no_random_number(folder):
    before = torch.get_rng_state()
    FAMILY.folder.load(folder)
    assert torch.equal(before, torch.get_rng_state())


def test_a_missing_tensor_is_named(folder):
    rewrite(folder, lambda weights: weights.pop(DOWN))
    assert f"1 tensor(s) missing, first '{DOWN}'" in refused(folder)


def test_an_unknown_tensor_is_named(folder):
    rewrite(folder, lambda weights: weights.update({"model.extra": torch.zeros(2)}))
    assert "'model.extra'" in refused(folder)


def test_an_oversized_tensor_is_named_with_both_shapes(folder):
    rewrite(folder, lambda weights: weights.update({DOWN: torch.zeros(16, 999)}))
    message = refused(folder)
    assert "(16, 999)" in message
    assert f"the config wants (16, {CONFIG.intermediate_size})" in message


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, -1])
def test_a_truncated_file_is_refused_wherever_it_ends(folder, keep):
    path = folder / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))] if isinstance(keep, float) else data[:keep])
    assert "tensor file is damaged" in refused(folder)


def test_a_lengthened_file_is_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes() + b"\0" * 8)
    assert "tensor file is damaged" in refused(folder)


def test_no_weights_at_all(folder):
    (folder / "model.safetensors").unlink()
    assert "there are no weights" in refused(folder)


def test_a_pickle_is_never_opened(folder):
    class Harm:
        def __reduce__(self):
            return (open, (str(folder / "harm"), "w"))

    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Harm()))
    assert "a pickle can run any program" in refused(folder)
    assert not (folder / "harm").exists()


def test_integer_weights_are_refused(folder):
    rewrite(folder, lambda weights: weights.update({DOWN: weights[DOWN].to(torch.int8)}))
    assert "torch.int8" in refused(folder)


def test_more_layers_than_weights_are_refused_before_they_are_built(folder):
    set_config(folder, num_hidden_layers=10**9)
    assert "1000000000 and 2" in refused(folder)


def test_a_vast_width_is_refused_before_it_is_allocated(folder):
    set_config(folder, hidden_size=2**24, num_attention_heads=2, head_dim=2**23)
    assert "has another shape than the config asks for" in refused(folder)


def test_shards_are_read(folder):
    whole = FAMILY.folder.load(folder).net.state_dict()
    shard(folder)
    parts = FAMILY.folder.load(folder).net.state_dict()
    assert all(torch.equal(parts[name], tensor) for name, tensor in whole.items())


def test_a_missing_shard_is_named(folder):
    shard(folder)
    (folder / "b.safetensors").unlink()
    message = refused(folder)
    assert "b.safetensors: tensor file is missing" in message


@pytest.mark.parametrize("name", ["../b.safetensors", "/etc/passwd", "x/b.safetensors", ".."])
def test_an_index_that_points_elsewhere_is_refused(folder, name):
    places = shard(folder)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places | {DOWN: name}}))
    assert "outside its folder" in refused(folder)


@pytest.mark.parametrize("content", ["[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 3}}', "{", "\udcff"])
def test_a_broken_index_is_refused(folder, content):
    shard(folder)
    (folder / "model.safetensors.index.json").write_bytes(content.encode(errors="surrogateescape"))
    assert "index" in refused(folder)


@pytest.mark.parametrize("content", [None, "", "[1]", "{", "\udcff", "null"])
def test_a_broken_config_is_refused_and_not_recognised(folder, content):
    path = folder / "config.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content.encode(errors="surrogateescape"))
    assert "copy the whole folder again" in refused(folder)
    assert not FAMILY.folder.recognises(folder)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model_type": "gpt2"}, "(got 'gpt2'); makar opens llama, mistral, qwen2, qwen3"),
        ({"model_type": ["llama"]}, "makar opens llama, mistral, qwen2, qwen3"),
        ({"vocab_size": None}, "'vocab_size' is missing"),
        ({"hidden_size": "wide"}, "'hidden_size'"),
        ({"num_attention_heads": 3}, "divisor of hidden_size 16"),
        ({"hidden_size": -16}, "greater than 0"),
        ({"hidden_act": "gelu"}, "(got 'gelu'); only 'silu' is built here"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantised"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "(got 'yarn'); makar knows 'default' and 'llama3'"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "(got 'linear')"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "field 'rope_scaling.factor' is missing"),
        ({"rope_scaling": "llama3"}, "the rope parameters are not an object"),
        (
            {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
            "partial_rotary_factor must be 1",
        ),
        (
            {"model_type": "qwen3", "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
            "some layers",
        ),
    ],
)
def test_what_would_compute_something_else_is_refused(folder, fields, said):
    set_config(folder, **fields)
    assert said in refused(folder)


def test_a_config_of_transformers_4_is_understood(folder):
    config = json.loads((folder / "config.json").read_text())
    for name in ("rope_parameters", "dtype", "head_dim", "tie_word_embeddings"):
        del config[name]
    scaling = {"type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 2.0}
    scaling["original_max_position_embeddings"] = 64
    config |= {"rope_theta": 77.0, "rope_scaling": scaling, "torch_dtype": "float16"}
    (folder / "config.json").write_text(json.dumps(config))
    rewrite(folder, lambda weights: weights.update({"lm_head.weight": torch.ones(SMALLEST, 16)}))
    rewrite(folder, lambda weights: weights.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}))
    model = FAMILY.folder.load(folder)
    assert (model.config.rope_theta, model.config.rope_scaling.factor) == (77.0, 4.0)
    assert model.net.output_weight.sum() == SMALLEST * 16


def test_a_tied_head_may_be_stored_twice_but_not_differ(folder):
    rewrite(folder, lambda weights: weights.update({"lm_head.weight": weights["model.embed_tokens.weight"].clone()}))
    assert FAMILY.folder.load(folder).config.tie_word_embeddings
    rewrite(folder, lambda weights: weights["lm_head.weight"].add_(1))
    assert "set tie_word_embeddings to false" in refused(folder)


def test_a_tied_head_without_its_embedding_is_refused(folder):
    rewrite(folder, lambda weights: weights.update({"lm_head.weight": weights.pop("model.embed_tokens.weight")}))
    assert "first 'model.embed_tokens.weight'" in refused(folder)


@pytest.fixture(scope="module")
def codec():
    return train_bpe(["the moon " * 3], SMALLEST)


def test_the_tokenizer_goes_with_the_model(codec, tmp_path):
    FAMILY.folder.save(Model(FAMILY, CONFIG, Decoder(CONFIG), {"codec": codec}), tmp_path)
    assert FAMILY.folder.load(tmp_path).parts["codec"].hash == codec.hash


def test_a_tokenizer_larger_than_the_vocabulary_is_refused(codec, tmp_path):
    small = CONFIG.model_copy(update={"vocab_size": SMALLEST - 1})
    FAMILY.folder.save(Model(FAMILY, small, Decoder(small), {"codec": codec}), tmp_path)
    assert f"(got '{SMALLEST} and {SMALLEST - 1}')" in refused(tmp_path)


def test_another_tokenizer_than_the_weights_were_made_with_is_refused(codec, tmp_path):
    """As large, with the same special tokens: only the hash beside the weights knows."""
    FAMILY.folder.save(Model(FAMILY, CONFIG, Decoder(CONFIG), {"codec": codec}), tmp_path)
    assert tensor_metadata(tmp_path / "model.safetensors")["tokenizer_sha256"] == codec.hash
    text = codec.source.replace('"special": true', '"special": false', 1)
    Bpe(text, codec.settings).save(tmp_path)
    assert "the tokenizer is not the one of these weights" in refused(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps(json.loads(codec.source)))  # the same, written otherwise
    assert FAMILY.folder.load(tmp_path).parts["codec"].hash == codec.hash


@pytest.mark.parametrize(
    ("config", "generation", "fault"),
    [
        ({}, {}, None),
        ({"eos_token_id": 2}, {"eos_token_id": [5, 0]}, None),
        ({"bos_token_id": None, "eos_token_id": 2, "pad_token_id": -1}, {}, None),
        ({"bos_token_id": 0, "eos_token_id": 5, "pad_token_id": 0}, {}, None),  # tuned to take turns
        ({"bos_token_id": 1, "eos_token_id": 2}, {}, None),  # what transformers writes by default
        ({"eos_token_id": 5}, {}, None),
        ({"eos_token_id": 100}, {}, r"same eos_token \(got '\[100\] and 0'\); copy .* mend eos_token_id in"),
        ({"eos_token_id": 5}, {"bos_token_id": 270}, r"same bos_token \(got '\[270\]"),
        ({"eos_token_id": 9999}, {}, "same eos_token"),
        ({"eos_token_id": 5, "pad_token_id": 0}, {}, "same eos_token"),
        ({"bos_token_id": 3}, {"eos_token_id": [1, 2], "pad_token_id": 1}, "same bos_token"),
    ],
)
def test_a_tokenizer_that_contradicts_the_configs_is_refused(codec, tmp_path, config, generation, fault):
    """Of a folder made elsewhere; differences that are common there are none."""
    FAMILY.folder.save(Model(FAMILY, CONFIG, Decoder(CONFIG)), tmp_path)
    codec.save(tmp_path)
    set_config(tmp_path, **config)
    (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    if fault is None:
        assert FAMILY.folder.load(tmp_path).parts["codec"].hash == codec.hash
    else:
        assert re.search(fault, refused(tmp_path))


@pytest.mark.parametrize(
    "generation",
    [
        {},
        {"temperature": 0.5, "top_p": 0.9, "top_k": 7, "min_p": 0.1, "repetition_penalty": 1.2, "max_tokens": 3},
        {"temperature": 0.0, "max_tokens": 5},
        {"stop": ["\n\n", "End"], "logprobs": 2, "top_p": 0.5},
    ],
)
def test_generation_defaults_come_back(tmp_path, generation):
    FAMILY.folder.save(Model(FAMILY, CONFIG, Decoder(CONFIG), generation=generation), tmp_path)
    assert FAMILY.folder.load(tmp_path).generation == generation


def test_a_foreign_wish_for_greedy_is_honoured(folder):
    (folder / "generation_config.json").write_text('{"do_sample": false, "temperature": 0.7, "num_beams": 4}')
    assert FAMILY.folder.load(folder).generation == {"temperature": 0.0}
    (folder / "generation_config.json").write_text('{"makar": 3, "top_k": 5}')
    assert FAMILY.folder.load(folder).generation == {"top_k": 5}


def test_several_ends_and_the_chat_template_travel_in_the_folder(tmp_path):
    import transformers

    codec = train_bpe(["the moon"], SMALLEST).speaking((2,), "{{ messages[0].content }}<|im_end|>")
    FAMILY.folder.save(Model(FAMILY, CONFIG, Decoder(CONFIG), {"codec": codec}), tmp_path)
    for name in ("config.json", "generation_config.json"):
        assert json.loads((tmp_path / name).read_text())["eos_token_id"] == [2, 0]
    again = FAMILY.folder.load(tmp_path).parts["codec"]
    assert (again.ends, again.chat_template) == (codec.ends, codec.chat_template)
    assert transformers.GenerationConfig.from_pretrained(tmp_path).eos_token_id == [2, 0]
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    said = [{"role": "user", "content": "hi"}]
    assert theirs.apply_chat_template(said, tokenize=False) == "hi<|im_end|>"


@pytest.mark.parametrize(("found", "ends"), [(2, (2, 0)), ([5, 2], (5, 2, 0)), (None, (0,)), ("x", (0,))])
def test_what_ends_an_answer_is_read_from_either_file(tmp_path, found, ends):
    codec = train_bpe(["the moon"], SMALLEST)
    FAMILY.folder.save(Model(FAMILY, CONFIG, Decoder(CONFIG), {"codec": codec}), tmp_path)
    generation = tmp_path / "generation_config.json"
    generation.write_text(json.dumps({"eos_token_id": found}))
    assert FAMILY.folder.load(tmp_path).parts["codec"].ends == ends
    generation.unlink()
    set_config(tmp_path, eos_token_id=found)
    assert FAMILY.folder.load(tmp_path).parts["codec"].ends == ends
