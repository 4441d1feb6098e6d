"""Preference losses: known values, exact accumulation, and what they teach."""

import math

import pytest
import torch

from makar.align.preference import PREFERENCES, Kto, Orpo, dpo, ipo, mismatched, simpo
from makar.align.score import totals
from makar.core.errors import ModelError
from makar.core.nouns import Model
from tests.align.support import answers, frozen, pairs, rng, run, tiny

torch.set_num_threads(1)


def objectives(reference):
    return {
        "dpo": dpo(reference, label_smoothing=0.1, at_once=3),
        "ipo": ipo(reference),
        "simpo": simpo(),
        "orpo": Orpo(),
        "kto": Kto(reference, at_once=3),
    }


def rows_for(name, count=6):
    return answers(count) | {"label": torch.arange(count) % 2} if name == "kto" else pairs(count)


@pytest.mark.parametrize("name", PREFERENCES)
def test_micro_batches_add_up_exactly(name):
    model = tiny(0)
    objective = objectives(frozen(tiny(1)))[name]
    whole = run(objective, model, rows_for(name))
    for micro in (1, 2, 4):
        parts = run(objective, model, rows_for(name), micro)
        assert parts[0] == pytest.approx(whole[0], rel=1e-5)
        assert parts[1] == pytest.approx(whole[1], rel=1e-4, abs=1e-5)
        for key, gradient in whole[2].items():
            torch.testing.assert_close(parts[2][key], gradient, rtol=1e-4, atol=1e-6)


def test_a_model_equal_to_its_reference_starts_at_known_values():
    model = tiny()
    reference = frozen(model)
    loss, logs, _ = run(dpo(reference), model, pairs())
    assert loss == pytest.approx(math.log(2), abs=1e-6)
    assert logs["margin"] == pytest.approx(0, abs=1e-5)
    loss, _, _ = run(ipo(reference, beta=0.25), model, pairs())
    assert loss == pytest.approx(4.0, abs=1e-4)
    batch = answers(4) | {"label": torch.tensor([1, 0, 1, 1])}
    loss, logs, _ = run(Kto(reference), model, batch)
    assert loss == pytest.approx(0.5, abs=1e-6)
    assert logs["kl"] == pytest.approx(0, abs=1e-5)


def test_each_loss_teaches_the_order_of_the_pairs():
    for name in ("dpo", "ipo", "orpo", "simpo", "kto"):
        model = tiny(scale=1.0)
        objective = objectives(frozen(model))[name]
        batch = pairs(4)
        if name == "kto":
            sides = [
                {k.split("_", 1)[1]: v for k, v in batch.items() if k.startswith(s)} for s in ("chosen", "rejected")
            ]
            batch = {k: torch.cat((sides[0][k], sides[1][k])) for k in sides[0]}
            batch["label"] = torch.tensor([1] * 4 + [0] * 4)
        optimizer = torch.optim.AdamW(model.net.parameters(), lr=3e-3)
        margins = []
        for _ in range(4):
            _, logs, gradients = run(objective, model, batch)
            margins.append(logs["chosen_reward"] - logs["rejected_reward"])
            for key, parameter in model.net.named_parameters():
                parameter.grad = gradients[key]
            optimizer.step()
        assert margins[-1] > margins[0], name


def test_a_mismatched_row_is_its_prompt_and_the_answer_before():
    rows = answers(5)
    other = mismatched(rows)
    for row in range(5):
        before = row - 1
        start = int(rows["loss_mask"][row].long().argmax())
        answer = rows["tokens"][before][rows["loss_mask"][before]].tolist()
        wanted = rows["tokens"][row, :start].tolist() + answer
        assert other["tokens"][row, : len(wanted)].tolist() == wanted
        assert int(other["loss_mask"][row].sum()) == len(answer)
        assert other["tokens"][row][other["loss_mask"][row]].tolist() == answer


def test_a_family_without_log_probabilities_is_refused():
    model = tiny()
    import dataclasses

    mute = Model(dataclasses.replace(model.family, log_prob=None), model.config, model.net)
    with pytest.raises(ModelError, match="cannot say how likely"):
        totals(mute, answers(2), rng(2))


def test_adapters_switched_off_are_the_reference():
    from makar.nets.lora import attach
    from makar.nets.lora_config import LoraConfig

    model = tiny()
    before = frozen(model)
    attach(model.net, model.family.blocks(model.net), LoraConfig(rank=2))
    with torch.no_grad():
        for name, parameter in model.net.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    against_base, against_copy = run(dpo(None), model, pairs()), run(dpo(before), model, pairs())
    assert against_base[0] == pytest.approx(against_copy[0], abs=1e-6)
    assert against_base[0] != pytest.approx(math.log(2), abs=1e-3)
