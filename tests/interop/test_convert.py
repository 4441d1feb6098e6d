import json

import pytest
import torch

from makar.app.cli import run
from makar.core.errors import InputError, ModelError, UserError
from makar.engine.adapters import adapters_of, save_adapter
from makar.engine.load import open_model
from makar.families.language.family import FAMILY
from makar.interop.convert import export_model, import_model
from makar.interop.gguf_file import open_gguf
from makar.interop.gguf_write import write_gguf
from makar.interop.origin import Origin, origin_of
from makar.nets.lora import attach
from makar.nets.lora_config import LoraConfig
from tests.interop.conftest import build

TOKENS = torch.arange(30)[None]


@pytest.fixture
def folder(model, tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    FAMILY.folder.save(model, path)
    return path


@pytest.fixture
def adapter(model, folder, tmp_path):
    torch.manual_seed(1)
    attach(model.net, FAMILY.blocks(model.net), LoraConfig(rank=2))
    with torch.no_grad():
        for name, parameter in model.net.named_parameters():
            if "lora" in name:
                parameter.normal_(0, 0.2)
    path = tmp_path / "adapter"
    path.mkdir()
    save_adapter(model, path, folder)
    return path


@torch.no_grad()
def logits(model):
    return model.net.eval()(TOKENS)


def test_a_file_comes_in_and_goes_out_with_the_same_logits(model, folder, tmp_path):
    file = export_model(folder, "gguf", tmp_path / "m.gguf", precision="f32")
    back = import_model(file, tmp_path / "back")
    assert torch.equal(logits(open_model(back)), logits(model))
    again = export_model(back, "transformers", tmp_path / "again")
    assert torch.equal(logits(open_model(again)), logits(model))
    assert "model.gguf" not in (back / "README.md").read_text()


def declared(file):
    """The name and the licence that a GGUF file states."""
    metadata = open_gguf(file).metadata
    return metadata.get("general.name"), metadata.get("general.license")


def test_name_and_licence_go_wherever_the_model_goes(model, folder, tmp_path):
    origin = Origin("a", "0" * 64, "Apache-2.0", "Tiny Moon, by somebody")
    write_gguf(model, tmp_path / "a.gguf", origin=origin)
    assert declared(tmp_path / "a.gguf") == ("Tiny Moon, by somebody", "Apache-2.0")
    came = import_model(tmp_path / "a.gguf", tmp_path / "came")
    over = import_model(export_model(came, "transformers", tmp_path / "theirs"), tmp_path / "over")
    assert (tmp_path / "theirs" / "README.md").read_bytes() == (came / "README.md").read_bytes()
    again = export_model(over, "gguf", tmp_path / "again.gguf")
    assert declared(again) == ("Tiny Moon, by somebody", "apache-2.0"), "as cards spell it"
    last = import_model(again, tmp_path / "last")
    assert origin_of(last, "b").title == "Tiny Moon, by somebody"
    assert origin_of(last, "b").licence == "apache-2.0"
    assert declared(export_model(folder, "gguf", tmp_path / "plain.gguf")) == (None, None)
    bare = export_model(folder, "transformers", tmp_path / "bare")
    assert "Licence: not declared" in (bare / "README.md").read_text(), "what says nothing gets a card that says so"


def test_what_was_merged_stands_under_its_parts_licence(folder, adapter, tmp_path):
    (folder / "README.md").write_text("---\ntags:\n- makar\nlicense: mit\n---\n\n# Base\n")
    (adapter / "README.md").write_text("---\nlibrary_name: peft\n---\n\n# Poet\n\n```\n# no heading\n```\n")
    assert declared(export_model(adapter, "gguf", tmp_path / "m.gguf")) == ("Poet", "mit")
    card = (export_model(adapter, "transformers", tmp_path / "whole") / "README.md").read_text()
    assert 'license: "mit"\n' in card
    assert "# Poet\n" in card
    assert "peft" not in card
    peft = export_model(adapter, "peft", tmp_path / "peft")
    assert (peft / "README.md").read_bytes() == (adapter / "README.md").read_bytes()


def test_a_folder_of_transformers_comes_in(model, tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=model.config.vocab_size,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    theirs = LlamaForCausalLM(config).eval()
    theirs.save_pretrained(tmp_path / "theirs")
    model.parts["codec"].save(tmp_path / "theirs")
    ours = open_model(import_model(tmp_path / "theirs", tmp_path / "ours"))
    with torch.no_grad():
        torch.testing.assert_close(logits(ours), theirs(TOKENS).logits, atol=1e-5, rtol=1e-5)


def test_an_adapter_goes_to_peft_and_merged_to_all_others(model, folder, adapter, tmp_path):
    wanted = logits(open_model(adapter))
    assert not torch.allclose(wanted, logits(open_model(folder)), atol=1e-2)
    peft = export_model(adapter, "peft", tmp_path / "peft")
    assert json.loads((peft / "adapter_config.json").read_text())["r"] == 2
    torch.testing.assert_close(logits(open_model(peft)), wanted)
    whole = open_model(export_model(adapter, "transformers", tmp_path / "whole"))
    assert not adapters_of(whole.net)
    torch.testing.assert_close(logits(whole), wanted, atol=1e-4, rtol=1e-4)
    file = export_model(adapter, "gguf", tmp_path / "m.gguf", precision="f32")
    torch.testing.assert_close(
        logits(open_model(import_model(file, tmp_path / "from_file"))), wanted, atol=1e-4, rtol=1e-4
    )


def test_an_adapter_comes_in_over_the_model_that_is_named(folder, adapter, tmp_path):
    wanted = logits(open_model(adapter))
    moved = tmp_path / "elsewhere" / "model"
    moved.parent.mkdir()
    folder.rename(moved)
    with pytest.raises(ModelError, match="the model that this adapter belongs to is not here"):
        import_model(adapter, tmp_path / "in")
    came = import_model(adapter, tmp_path / "in", base=moved)
    torch.testing.assert_close(logits(open_model(came)), wanted)


@pytest.mark.slow
def test_onnx_gives_the_same_logits_for_any_length(model, folder, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    out = export_model(folder, "onnx", tmp_path / "onnx")
    session = onnxruntime.InferenceSession(out / "model.onnx", providers=["CPUExecutionProvider"])
    for rows, length in ((1, 1), (3, 17), (1, 200)):
        tokens = torch.randint(model.config.vocab_size, (rows, length))
        with torch.no_grad():
            wanted = model.net.eval()(tokens)
        found = torch.from_numpy(session.run(None, {"input_ids": tokens.numpy()})[0])
        torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-3)
    assert (out / "tokenizer.json").is_file()


@pytest.mark.slow
def test_onnx_knows_every_kind(tiny, tmp_path):
    from makar.interop.onnx import write_onnx

    write_onnx(tiny, tmp_path)  # compares the logits itself


def test_onnx_refuses_a_window_that_it_could_write_for_one_length_alone(bpe, tmp_path):
    pytest.importorskip("onnxscript")
    from makar.interop.onnx import write_onnx

    with pytest.raises(ModelError, match="a sliding window cannot be written for every length"):
        write_onnx(build(bpe, sliding_window=2), tmp_path)


def test_what_cannot_be_done_is_said_and_nothing_is_written(folder, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    for kind, name, to, more, said in (
        (InputError, folder, "onnx", {"precision": "f16"}, "only GGUF files have a precision"),
        (ModelError, folder, "peft", {}, "a whole model, not an adapter"),
        (UserError, tmp_path / "nowhere", "gguf", {}, "no such model"),
    ):
        with pytest.raises(kind, match=said):
            export_model(name, to, tmp_path / "out", **more)
    with pytest.raises(InputError, match="there is something already"):
        export_model(folder, "gguf", folder)
    with pytest.raises(InputError, match="there is something already"):
        import_model(folder, folder)
    with pytest.raises(InputError, match="a whole model, which has no base"):
        import_model(folder, tmp_path / "out", base=folder)
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(b"GGUF\3\0\0\0")
    with pytest.raises(ModelError, match="truncated or damaged"):
        import_model(damaged, tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == sorted([*before, damaged])


def test_the_commands_say_where_the_result_is(folder, tmp_path, capsys):
    file, back = str(tmp_path / "m.gguf"), str(tmp_path / "back")
    assert run(["export", str(folder), "--to", "gguf", file]) == 0
    assert run(["import", file, back]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [file, back]
    assert "SHA-256" in said.err
    assert run(["export", str(folder), "--to", "gguf", file]) == 2
    assert run(["export", back, "--to", "paper", file]) == 2
    said = capsys.readouterr()
    assert said.err.splitlines()[0].startswith("makar: " + file)
    assert len(said.err.splitlines()) == 2


def test_a_file_can_be_looked_at(folder, tmp_path, capsys):
    file = export_model(folder, "gguf", tmp_path / "m.gguf", precision="q8_0")
    assert run(["inspect", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kind"], found["intact"]) == ("GGUF file", True)
    assert found["facts"]["metadata"]["general.architecture"] == "llama"
    assert found["facts"]["tensors"]["blk.0.ffn_up.weight"] == "Q8_0 [96, 64]"
    file.write_bytes(file.read_bytes()[:-100])
    assert run(["inspect", str(file)]) == 2
    assert "truncated or damaged" in capsys.readouterr().out
