import math
from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer, decoders, models

from makar.codecs.bpe import SPECIAL, Bpe, train_bpe
from makar.core.errors import InputError, ModelError, RecipeError
from makar.core.nouns import Model, Request
from makar.data.fim import fill_in_middle, sentinels
from makar.engine.run import Answer, Engine
from makar.families.language import sample
from makar.families.language.config import LanguageConfig
from makar.families.language.family import FAMILY
from makar.families.language.reading import read
from makar.families.language.sample import SAMPLER, tell
from makar.families.language.settings import LanguageSettings
from makar.nets.cache import Cache
from makar.nets.decoder import Decoder

CONTEXT = 64
GREEDY = LanguageSettings(temperature=0, max_tokens=20)
PROMPTS = ["The moon", "", "ünï 🌙", "a much longer prompt than the others"]


@pytest.fixture(scope="module")
def codec() -> Bpe:
    """Bytes and four merges, so that most characters beyond ASCII are several tokens."""
    return train_bpe(["the moon the moon"] * 9, len(SPECIAL) + 256 + 4)


@pytest.fixture(scope="module")
def model(codec) -> Model:
    """Weights so large that the likeliest token changes from place to place."""
    config = LanguageConfig(
        vocab_size=codec.vocab_size, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=CONTEXT, initializer_range=0.5,
    )  # fmt: skip
    torch.manual_seed(0)
    return Model(FAMILY, config, Decoder(config), {"codec": codec})


@pytest.fixture
def script(monkeypatch, model):
    """Makes the model write a given text (or ids), token by token, and then the end token."""

    def write(text: str | list[int], settings: LanguageSettings = GREEDY, prompt="") -> list:
        codec = model.parts["codec"]
        ids = codec.ids(text, start=False) if isinstance(text, str) else text
        ids = [*ids, codec.end_id]

        def scripted(net, tokens, cache, most):
            place = (cache.lengths + 1 - len(codec.ids(prompt))).tolist()
            return torch.nn.functional.one_hot(torch.tensor([ids[p] for p in place]), codec.vocab_size).float()

        monkeypatch.setattr(sample, "read", scripted)
        return list(Engine(model).stream([Request(prompt, settings=settings)]))

    return write


def write(model: Model, *requests: Request) -> list[Answer]:
    return Engine(model).generate(requests)


def greedy_by_hand(model: Model, prompt: list[int], count: int) -> list[int]:
    """The plainest decoder there is: no cache, no batch."""
    ids = list(prompt)
    with torch.inference_mode():
        for _ in range(count):
            ids.append(int(model.net(torch.tensor([ids]))[0, -1].argmax()))
            if ids[-1] == model.parts["codec"].end_id:
                break
    return ids[len(prompt) :]


def test_greedy_rows_of_a_batch_equal_plain_decoding_without_a_cache(model):
    answers = write(model, *(Request(prompt, settings=GREEDY) for prompt in PROMPTS))
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        ids = greedy_by_hand(model, model.parts["codec"].ids(prompt), 20)
        assert answer.info["ids"] == ids
        assert len(set(ids)) > 3, "a model that repeats itself proves little"


def test_logits_do_not_depend_on_the_batch(model):
    def logits(*prompts):
        state = SAMPLER.start(model, [Request(prompt, settings=GREEDY) for prompt in prompts])
        tokens = state["tokens"].gather(1, state["lengths"][:, None]).squeeze(1)
        return read(model.net, tokens, Cache(state["keys"], state["values"], state["lengths"]), 1)

    with torch.inference_mode():
        for prompt, together in zip(PROMPTS, logits(*PROMPTS), strict=True):
            assert torch.allclose(together, logits(prompt)[0], atol=1e-5)
            alone = model.net(torch.tensor([model.parts["codec"].ids(prompt)]))
            assert torch.allclose(together, alone[0, -1], atol=1e-5)


def test_an_answer_is_the_same_whatever_runs_beside_it(model):
    requests = [
        Request(prompt, seed, LanguageSettings(temperature=0.5 + seed, top_k=9 * (seed % 2), max_tokens=4 + 5 * seed))
        for seed, prompt in enumerate(PROMPTS)
    ]
    together = write(model, *requests)
    assert together == [write(model, request)[0] for request in requests]
    assert together[::-1] == write(model, *reversed(requests))


def test_the_seed_alone_decides(model):
    settings = LanguageSettings(temperature=1, max_tokens=12)
    first, again, other = write(model, *(Request("a", seed, settings) for seed in (7, 7, 8)))
    assert first == again
    assert first.data != other.data


def test_drawn_tokens_follow_the_softmax(model):
    """Chi-square over the 8 likeliest tokens: 7 degrees of freedom, passed by chance once in a thousand at 24.3."""
    settings = LanguageSettings(temperature=2.0, top_k=8, top_p=1, max_tokens=1, logprobs=8)
    answers = write(model, *(Request("The", seed, settings) for seed in range(800)))
    counts = torch.zeros(model.net.config.vocab_size)
    for answer in answers:
        counts[answer.info["ids"][0]] += 1
    logits = model.net(torch.tensor([model.parts["codec"].ids("The")]))[0, -1].detach()
    values, ids = logits.topk(8)
    expected = (values / 2).softmax(-1) * 800
    assert counts.sum() == counts[ids].sum()
    assert float(((counts[ids] - expected) ** 2 / expected).sum()) < 24.3
    assert float(((counts[ids] - 100) ** 2 / 100).sum()) > 24.3  # the test can tell a wrong distribution


def test_a_penalty_counts_the_prompt_and_what_was_written(model):
    penalised = GREEDY.model_copy(update={"repetition_penalty": 1e6, "max_tokens": 30})
    (answer,) = write(model, Request("The moon", settings=penalised))
    ids = answer.info["ids"]
    assert len(set(ids)) == len(ids)
    assert not set(ids) & set(model.parts["codec"].ids("The moon"))


def test_text_comes_in_whole_characters_and_joins_to_the_text_of_the_ids(script, codec):
    text = "mön 🌙🌙 the moon — “x”"
    chunks = script(text, GREEDY.model_copy(update={"max_tokens": 99}))
    assert "".join(chunk.data for chunk in chunks) == text
    assert not any("\ufffd" in chunk.data for chunk in chunks)
    assert [chunk.data for chunk in chunks][:4] == ["m", "", "ö", "n"]
    assert chunks[-1].reason == "stop"


def test_an_answer_cut_inside_a_character_shows_it(script, codec):
    chunks = script("a🌙", GREEDY.model_copy(update={"max_tokens": 3}))
    assert [chunk.data for chunk in chunks] == ["a", "", "\ufffd"]
    assert chunks[-1].reason == "length"


def test_bytes_that_are_no_text_are_shown_as_soon_as_they_are_known(script, codec):
    lead, follow = codec.ids("é", start=False)
    chunks = script([follow, lead, lead, follow, follow])
    assert [chunk.data for chunk in chunks] == ["\ufffd", "", "\ufffd", "é", "\ufffd", ""]


def test_special_tokens_are_not_text(script, codec):
    ids = codec.ids("hi", start=False)
    chunks = script([*ids, codec.special["<|im_start|>"], *ids])
    assert "".join(chunk.data for chunk in chunks) == "hihi"
    assert chunks[-1].info["ids"] == [codec.end_id]


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("one. two", (". ",), "one"),
        ("to be or not", ("be or", "xyz"), "to "),
        ("mön 🌙 bright", ("🌙",), "mön "),
        ("na na na nah", ("nah",), "na na na "),
        ("almost sto", ("stop",), "almost sto"),
        ("stop", ("stop",), ""),
    ],
)
def test_a_stop_string_ends_the_answer_before_it(script, text, stop, expected):
    chunks = script(text, GREEDY.model_copy(update={"stop": stop}))
    assert "".join(chunk.data for chunk in chunks) == expected
    assert chunks[-1].reason == "stop"


def test_what_may_become_a_stop_string_waits_and_the_rest_does_not(script):
    chunks = script("a##b###", GREEDY.model_copy(update={"stop": ("###",)}))
    assert [chunk.data for chunk in chunks] == ["a", "", "", "##b", "", "", ""]


def test_each_row_has_its_own_stop_strings(model):
    plain = write(model, Request("The moon", settings=GREEDY))[0].data
    half = plain[len(plain) // 2 :][:2]
    requests = [
        Request("The moon", settings=GREEDY.model_copy(update={"stop": stop})) for stop in ((), (half,), ("☃",))
    ]
    answers = write(model, *requests)
    assert [answer.data for answer in answers] == [plain, plain[: plain.index(half)], plain]
    assert [answer.reason for answer in answers] == ["length", "stop", "length"]


def test_an_answer_stops_where_the_context_is_full(model):
    settings = GREEDY.model_copy(update={"max_tokens": 10_000})
    prompt = [30] * (CONTEXT - 5)
    (answer,) = write(model, Request(prompt, settings=settings))
    assert (len(answer.info["ids"]), answer.reason) == (6, "length")
    (last,) = write(model, Request([30] * CONTEXT, settings=settings))
    assert last.info["ids"] == greedy_by_hand(model, [30] * CONTEXT, 1)
    assert last.reason == "length"


def test_no_prompt_is_the_start_token_alone(model):
    none, empty, start = write(model, *(Request(p, settings=GREEDY) for p in (None, "", [model.parts["codec"].end_id])))
    assert none == empty == start


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ([30] * (CONTEXT + 1), r"longer than the model's context \(got '65 tokens'\); give at most 64"),
        ("x" * 2 * CONTEXT, r"got '129 tokens'\); give at most 64"),
        ([3, 9999], r"unknown token \(got 9999\); ids go from 0 to 275"),
        ([-1], r"unknown token \(got -1\)"),
        ([], "neither text nor messages nor token ids"),
        (3.5, r"neither text nor messages nor token ids \(got 3.5\); give a string"),
        ([{"role": "narrator", "content": "hi"}], "an unknown role"),
    ],
)
def test_a_prompt_that_does_not_fit_is_refused(model, prompt, said):
    with pytest.raises(InputError, match=said):
        write(model, Request("good", settings=GREEDY), Request(prompt, settings=GREEDY))


def test_settings_of_another_family_and_bad_defaults_are_refused(model):
    with pytest.raises(InputError, match=r"another family \(got 'LanguageConfig'\)"):
        write(model, Request("a", settings=model.config))
    with pytest.raises(RecipeError, match=r"generation defaults: unknown field 'temprature'.*'temperature'"):
        write(replace(model, generation={"temprature": 1}), Request("a"))


def test_the_models_defaults_hold_where_a_request_has_no_settings(model):
    (answer,) = write(replace(model, generation={"max_tokens": 3, "temperature": 0}), Request("The moon"))
    assert answer.info["ids"] == greedy_by_hand(model, model.parts["codec"].ids("The moon"), 3)


def test_log_probabilities_are_the_models_own(model):
    settings = LanguageSettings(temperature=0.5, top_k=3, repetition_penalty=1.5, max_tokens=5)
    asked = [settings.model_copy(update={"logprobs": count}) for count in (None, 0, 3)]
    none, own, three = write(model, *(Request("The", 5, each) for each in asked))
    assert none.info.keys() == {"ids"}
    ids = [*model.parts["codec"].ids("The"), *three.info["ids"]]
    expected = model.net(torch.tensor([ids]))[0].log_softmax(-1)[-6:-1].detach()
    for found in (own, three):
        assert found.info["ids"] == none.info["ids"]
        wanted = expected.gather(1, torch.tensor(found.info["ids"])[:, None]).squeeze(1)
        assert torch.allclose(torch.tensor(found.info["logprobs"]), wanted, atol=1e-5)
    assert own.info["top_logprobs"] == [{}] * 5
    for found, row in zip(three.info["top_logprobs"], expected, strict=True):
        values, likeliest = row.topk(3)
        assert list(found) == likeliest.tolist()
        assert list(found.values()) == pytest.approx(values.tolist(), abs=1e-5)


def test_damaged_weights_are_named_instead_of_writing_nonsense(model, codec):
    net = Decoder(model.net.config)
    with torch.no_grad():
        net.model.norm.weight[0] = math.nan
    with pytest.raises(ModelError, match="logits are not finite"):
        write(replace(model, net=net), Request("a", settings=GREEDY))


def test_a_model_without_a_tokenizer_is_refused(model):
    with pytest.raises(ModelError, match="no tokenizer"):
        write(replace(model, parts={}), Request("a", settings=GREEDY))


def test_a_tokenizer_that_drops_the_first_space_of_a_text_keeps_it_where_text_goes_on(model):
    vocab = {"</s>": 0, "▁the": 1, "▁moon": 2}
    tokenizer = Tokenizer(models.BPE(vocab, []))
    tokenizer.add_special_tokens(["</s>"])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    codec = Bpe(tokenizer.to_str(), {"eos_token": "</s>"})
    state = SAMPLER.start(replace(model, parts={"codec": codec}), [Request([0, 1]), Request([0])])
    said = ["", ""]
    for token in (2, 1):
        state = state | {"lengths": state["lengths"] + 1}
        state["tokens"].scatter_(1, state["lengths"][:, None], torch.tensor([[token], [token]]))
        state, chunks = tell(codec, state, [{"ids": [token]}] * 2)
        said = [text + chunk.data for text, chunk in zip(said, chunks, strict=True)]
    assert said == [" moon the", "moon the"]


def test_any_token_that_ends_an_answer_ends_it(script, model, monkeypatch):
    turn = model.parts["codec"].special["<|im_end|>"]
    chunks = script([*model.parts["codec"].ids("hi", start=False), turn])
    assert chunks[-1].info["ids"] == [model.parts["codec"].end_id]
    monkeypatch.setitem(model.parts, "codec", model.parts["codec"].speaking((turn,)))
    chunks = script([*model.parts["codec"].ids("hi", start=False), turn])
    assert "".join(chunk.data for chunk in chunks) == "hi"
    assert (chunks[-1].info["ids"], chunks[-1].reason) == ([turn], "stop")


def test_a_conversation_is_a_prompt(model):
    said = [{"role": "user", "content": "hi <|im_end|>"}]
    codec = model.parts["codec"]
    ids = codec.template_ids("<|im_start|>user\nhi <") + codec.ids("|im_end|>", start=False)
    asked = sample.prompt_ids(model, said)
    assert codec.text(asked, special=True) == "<|im_start|>user\nhi <|im_end|><|im_end|>\n<|im_start|>assistant\n"
    assert asked[: len(ids)] == ids


def test_a_gap_is_written_as_documents_are_cut_in_training(model):
    codec = model.parts["codec"]
    marks = sentinels(codec.special)
    encode = fill_in_middle(codec.plain_ids, marks, 0, opener=codec.opener, closer=codec.closer, rate=1.0)
    seen = 0
    for row in encode([f"the moon {k} is the moon" for k in range(20)]):
        suffix, middle = row.index(marks.suffix), row.index(marks.middle)
        prefix = codec.text(row[:suffix])
        if not prefix:  # the suffix came first
            continue
        gap = {"prefix": prefix, "suffix": codec.text(row[suffix:middle])}
        assert row[: middle + 1] == sample.prompt_ids(model, gap)
        seen += 1
    assert seen > 5


@pytest.mark.parametrize(
    "gap", [{}, {"prefix": "a"}, {"prefix": "a", "suffix": 1}, {"prefix": "a", "suffix": "b", "middle": "c"}]
)
def test_what_is_no_gap_is_refused(model, gap):
    with pytest.raises(InputError, match="no text with a gap"):
        SAMPLER.start(model, [Request(gap)])


def test_a_tokenizer_without_marks_fills_no_gap(model):
    codec = model.parts["codec"]
    plain = Bpe(codec.source.replace("fim_middle", "fim_centre"), codec.settings)
    with pytest.raises(ModelError, match="cannot fill in the middle.*data.fim_rate"):
        SAMPLER.start(replace(model, parts={"codec": plain}), [Request({"prefix": "a", "suffix": "b"})])


def test_a_net_fills_the_gaps_that_it_has_learned(codec):
    """A few texts, each cut at its own place: what stands between follows from both sides."""
    marks = sentinels(codec.special)
    texts = [f"the {word} moon" for word in ("old", "new", "red", "far", "low", "sad", "big", "hot", "shy", "wet")]
    encode = fill_in_middle(codec.plain_ids, marks, 1, opener=codec.opener, closer=codec.opener, rate=1.0)
    rows = [row for row in encode(texts) if row[2] != marks.suffix]
    config = LanguageConfig(
        vocab_size=codec.vocab_size, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=CONTEXT,
    )  # fmt: skip
    torch.manual_seed(0)
    net = Decoder(config)
    tokens = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(50):
        loss = torch.nn.functional.cross_entropy(net(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    learned = Model(FAMILY, config, net.eval(), {"codec": codec})
    assert len(rows) > 2
    for row in rows:
        suffix, middle = row.index(marks.suffix), row.index(marks.middle)
        gap = {"prefix": codec.text(row[:suffix]), "suffix": codec.text(row[suffix:middle])}
        (answer,) = Engine(learned).generate([Request(gap, settings=GREEDY)])
        assert (answer.data, answer.reason) == (codec.text(row[middle:]), "stop")
