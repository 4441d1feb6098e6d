"""How a language model writes: a token a step for every row, as text that is never cut inside a character.

A row's whole story is in the state's tensors, so rows join and leave by plain indexing. The last token of a row is
drawn but not yet read: a step reads it, draws the next, and says what has become text. Text is told from the row's own
tokens; those whose text is not yet given out whole (half a character, the beginning of a stop string) are the row's
tail, and only the tail is decoded again.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from makar.codecs.bpe import Bpe
from makar.codecs.chat import prompt_ids as chat_prompt
from makar.codecs.template import template_of
from makar.core.errors import InputError, ModelError
from makar.core.messages import pictures_in
from makar.core.nouns import Chunk, Model, Request, State
from makar.core.random import Rng
from makar.data.fim import arrange, sentinels
from makar.families.language.reading import read, renew, room_for
from makar.families.language.sampling import draw, likeliest, penalize_repeats, seen_tokens, warp
from makar.families.language.settings import LanguageSettings
from makar.families.language.stops import release
from makar.families.settings import settings_of
from makar.nets.cache import Cache
from makar.nets.decoder import Decoder


class LanguageSampler:
    """Implements `core.nouns.Sampler`.

    A prompt is text, a conversation, token ids, {"prefix": text, "suffix": text} for what stands between the two, or
    None for the start token alone.

    A chunk is one token's work: `data` is the text that became certain with it, `info["ids"]` the token, and where
    asked for `info["logprobs"]` its log-probability and `info["top_logprobs"]` those of the likeliest, by id.
    The reason at the end is "stop" (a token that ends an answer, or a stop string) or "length" (`max_tokens`, or a
    full context).
    """

    def start(self, model: Model[Decoder], requests: Sequence[Request]) -> State:
        """Read the prompts, all but the last token of each.

        Raises:
            UserError: A prompt longer than the context, or of another kind than text or ids of the vocabulary.
        """
        return begun(model, requests, [prompt_ids(model, request.prompt) for request in requests])

    def step(self, model: Model[Decoder], state: State) -> tuple[State, list[Chunk]]:
        """Read each row's last token, draw its next, and tell what is certain of the text."""
        lengths = state["lengths"]
        last = state["tokens"].gather(1, lengths[:, None]).squeeze(1)
        most = int((state["limit"] - lengths).max()) - 1
        logits = read(model.net, last, Cache(state["keys"], state["values"], lengths), most).float()
        fresh = choose(logits, state)
        lengths = lengths + 1
        state["tokens"].scatter_(1, lengths[:, None], fresh[:, None])
        infos = explain(logits, fresh, state["logprobs"])
        return tell(codec_of(model), state | {"lengths": lengths}, infos)


def begun(
    model: Model[Decoder],
    requests: Sequence[Request],
    prompts: Sequence[Sequence[int]],
    embed: Callable[[Int[Tensor, "rows time"]], Float[Tensor, "rows time width"]] | None = None,
) -> State:
    """The state in which nothing is written yet: all but the last token of each prompt is read.

    Args:
        model: With its tokenizer.
        requests: What is asked, for their seeds and settings.
        prompts: Their token ids.
        embed: What is read in the places of tokens that are not all words; the last of a prompt is one.
    """
    net, device = model.net, model.device
    settings = [settings_of(model, request, LanguageSettings) for request in requests]
    limits = [
        # The last token is drawn and never read, so it may lie one beyond the context.
        min(len(prompt) + each.max_tokens, net.config.max_position_embeddings + 1)
        for prompt, each in zip(prompts, settings, strict=True)
    ]
    tokens = torch.zeros(len(prompts), max(limits), dtype=torch.int64, device=device)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = torch.tensor(prompt)
    counts = torch.tensor([len(prompt) for prompt in prompts], device=device)
    dtype = net.output_weight.dtype
    cache = Cache.empty(net.config, len(prompts), room_for(max(limits)), dtype, device)
    renew(net)
    longest = int(counts.max()) - 1
    if longest:
        read = tokens[:, :longest]
        net.model(read, cache=cache.upto(longest), embeddings=None if embed is None else embed(read))
    noise = [
        noise_of(request.seed, limit - len(prompt)) if each.temperature else torch.zeros(0)
        for request, prompt, limit, each in zip(requests, prompts, limits, settings, strict=True)
    ]
    stops = [torch.frombuffer(bytearray(json.dumps(each.stop).encode()), dtype=torch.uint8) for each in settings]
    asked = torch.tensor(
        [(s.repetition_penalty, s.temperature, s.top_p, s.min_p) for s in settings], dtype=torch.float64
    ).to(device)
    return {
        "keys": cache.keys,
        "values": cache.values,
        "lengths": counts - 1,
        "tokens": tokens,
        "prompt": counts,
        "limit": torch.tensor(limits, device=device),
        "tail": counts.clone(),
        "shown": torch.zeros_like(counts),
        "noise": torch.nn.utils.rnn.pad_sequence(noise, batch_first=True).to(device),
        "stop": torch.nn.utils.rnn.pad_sequence(stops, batch_first=True),
        "repetition_penalty": asked[:, 0],
        "temperature": asked[:, 1],
        "top_k": torch.tensor([each.top_k for each in settings], device=device),
        "top_p": asked[:, 2],
        "min_p": asked[:, 3],
        "logprobs": torch.tensor([-1 if s.logprobs is None else s.logprobs for s in settings], device=device),
    }


def codec_of(model: Model[Decoder]) -> Bpe:
    """The tokenizer, without which there is no text."""
    if "codec" not in model.parts:
        raise ModelError("the model has no tokenizer", fix="put a tokenizer.json into its folder")
    return model.parts["codec"]


def prompt_ids(model: Model[Decoder], prompt: Any) -> list[int]:
    """A prompt as token ids, checked against the vocabulary and the context."""
    codec, config = codec_of(model), model.net.config
    if prompt is None or isinstance(prompt, str):
        ids: list[int] = codec.ids(prompt or "") or codec.opener
    elif isinstance(prompt, Mapping):
        ids = gap_ids(codec, prompt)
    elif isinstance(prompt, Sequence) and prompt and all(isinstance(message, dict) for message in prompt):
        if pictures_in(prompt):
            raise InputError("this model sees no pictures", fix="ask it in words, or name one that does")
        ids = chat_prompt(codec, template_of(codec), prompt)
    elif isinstance(prompt, Sequence) and prompt and all(isinstance(token, int) for token in prompt):
        ids = list(prompt)
    else:
        raise InputError(
            "the prompt is neither text nor messages nor token ids",
            value=prompt,
            fix="give a string, a list of messages or of numbers, a prefix and a suffix, or None",
        )
    unknown = next((token for token in ids if not 0 <= token < config.vocab_size), None)
    if unknown is not None:
        raise InputError(
            "the prompt holds an unknown token", value=unknown, fix=f"ids go from 0 to {config.vocab_size - 1}"
        )
    if len(ids) > config.max_position_embeddings:
        raise InputError(
            "the prompt is longer than the model's context",
            value=f"{len(ids)} tokens",
            fix=f"give at most {config.max_position_embeddings}",
        )
    return ids


def gap_ids(codec: Bpe, gap: Mapping[str, Any]) -> list[int]:
    """Token ids of what stands before and after a gap, so that what fills it comes next: as `data.fim` trains it.

    Raises:
        InputError: It is no table of a prefix and a suffix.
        ModelError: The tokenizer has no tokens that mark the parts.
    """
    if set(gap) != {"prefix", "suffix"} or not all(isinstance(part, str) for part in gap.values()):
        fix = 'give {"prefix": text, "suffix": text}'
        raise InputError("the prompt is no text with a gap", value=sorted(gap), fix=fix)
    marks = sentinels(codec.special)
    if marks is None:
        fix = "leave the suffix out, or name a model that was trained with data.fim_rate"
        raise ModelError("this model's tokenizer cannot fill in the middle", fix=fix)
    prefix, suffix = codec.plain_ids([gap["prefix"], gap["suffix"]])
    return [*codec.opener, *arrange(prefix, [], suffix, marks, suffix_first=False)]


def noise_of(seed: int, count: int) -> Float[Tensor, " count"]:
    """The uniform numbers that draw the tokens of one answer, whatever batch it runs in."""
    return Rng(seed, 0, torch.arange(count)).uniform("token")


def choose(logits: Float[Tensor, "rows vocab"], state: State) -> Int[Tensor, " rows"]:
    """Each row's next token: the likeliest, or one drawn with the row's own noise."""
    if set(state["repetition_penalty"].tolist()) != {1.0}:
        seen = seen_tokens(state["tokens"], state["lengths"] + 1, logits.shape[1])
        logits = penalize_repeats(logits, seen, state["repetition_penalty"])
    first = likeliest(logits)
    if not all(map(math.isfinite, logits.gather(1, first[:, None]).squeeze(1).tolist())):
        raise ModelError("the model's logits are not finite", fix="its weights are damaged or its training diverged")
    if not any(state["temperature"].tolist()):
        return first
    drawn = state["temperature"] > 0
    temperature = state["temperature"].where(drawn, 1.0)
    place = (state["lengths"] + 1 - state["prompt"])[:, None]
    noise = state["noise"].gather(1, place).squeeze(1)
    fresh = draw(warp(logits, temperature, state["top_k"], state["top_p"], state["min_p"]), noise)
    return torch.where(drawn, fresh, first)


def explain(
    logits: Float[Tensor, "rows vocab"], fresh: Int[Tensor, " rows"], asked: Int[Tensor, " rows"]
) -> list[dict[str, Any]]:
    """What to say of each row's new token: its id and, where asked for, log-probabilities before any setting."""
    infos: list[dict[str, Any]] = [{"ids": [token]} for token in fresh.tolist()]
    most = int(asked.max())
    if most < 0:
        return infos
    log_probs = logits.log_softmax(-1)
    own = log_probs.gather(1, fresh[:, None]).squeeze(1).tolist()
    values, ids = (part.tolist() for part in log_probs.topk(min(most, logits.shape[1])))
    for row, count in enumerate(asked.tolist()):
        if count >= 0:
            infos[row]["logprobs"] = [own[row]]
            infos[row]["top_logprobs"] = [dict(zip(ids[row][:count], values[row][:count], strict=True))]
    return infos


@lru_cache(maxsize=1024)
def stop_strings(stored: bytes) -> tuple[str, ...]:
    """A row's stop strings as its state holds them: JSON, with zeros behind it where another row's are longer."""
    return tuple(json.loads(stored.rstrip(b"\0")))


def tell(codec: Bpe, state: State, infos: Sequence[dict[str, Any]]) -> tuple[State, list[Chunk]]:
    """Say what has become certain of each row's text, and which rows end."""
    chunks: list[Chunk] = []
    leaves = [state[name].tolist() for name in ("lengths", "limit", "tail", "shown", "stop")]
    tails, showns = leaves[2], leaves[3]
    for row, (length, limit, tail, shown, stop) in enumerate(zip(*leaves, strict=True)):
        ended, full = infos[row]["ids"][0] in codec.ends, length + 1 >= limit
        before, *ids = state["tokens"][row, tail - 1 : length + 1 - ended].tolist()
        stream = codec.stream()
        stream.push(before)  # where text goes on, a tokenizer may write what it does not write where text begins
        text = "".join(map(stream.push, ids))
        rest = stream.flush()
        if ended or full:
            text, rest = text + rest, ""
        new = text[shown:]
        given, stopped = release(new, stop_strings(bytes(stop)))
        if ended or full or stopped:
            given = given if stopped else len(new)
            reason = "stop" if stopped or ended else "length"
            chunks.append(Chunk(row, new[:given], done=True, reason=reason, info=infos[row]))
            continue
        chunks.append(Chunk(row, new[:given], info=infos[row]))
        whole = given == len(new) and not rest
        tails[row], showns[row] = (length + 1, 0) if whole else (tail, shown + given)
    device = state["tail"].device
    return state | {
        "tail": torch.tensor(tails, device=device),
        "shown": torch.tensor(showns, device=device),
    }, chunks


SAMPLER = LanguageSampler()
