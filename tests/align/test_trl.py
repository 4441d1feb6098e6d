"""Every loss that TRL has, on the same weights and the same tensors: values and gradients equal to 1e-5.

TRL keeps its losses inside its trainers; here those methods are called on a stand-in for the trainer, over a model of
`transformers` that was loaded from our own folder.
"""

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from makar.align.estimate import group_relative, leave_one_out
from makar.align.policy import grpo, rloo
from makar.align.preference import Kto, Orpo, dpo, ipo, mismatched, simpo
from makar.align.reward_model import BradleyTerry, from_language, save
from tests.align.support import VOCAB, answers, frozen, pairs, run, tiny

torch.set_num_threads(1)
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def trl():
    pytest.importorskip("trl")
    from trl import DPOTrainer, GRPOTrainer, KTOTrainer, RewardTrainer, RLOOTrainer
    from trl.experimental.cpo import CPOTrainer
    from trl.experimental.orpo import ORPOTrainer

    names = {"dpo": DPOTrainer, "grpo": GRPOTrainer, "kto": KTOTrainer, "rloo": RLOOTrainer}
    return SimpleNamespace(**names, cpo=CPOTrainer, orpo=ORPOTrainer, reward=RewardTrainer)


@pytest.fixture(scope="module")
def both_sides(tmp_path_factory):
    """Our model with its reference, and the same two in transformers."""
    pytest.importorskip("transformers")
    from transformers import LlamaForCausalLM

    ours, theirs = [], []
    for seed in (0, 1):
        model, folder = tiny(seed), tmp_path_factory.mktemp("model")
        model.family.folder.save(model, folder)
        ours.append(model)
        theirs.append(LlamaForCausalLM.from_pretrained(folder, attn_implementation="sdpa"))
    return ours[0], frozen(ours[1]), theirs[0], theirs[1].requires_grad_(False)


class Accelerator:
    """One process."""

    device, num_processes, sync_gradients = torch.device("cpu"), 1, True

    def gather(self, value):
        return value

    def reduce(self, value, reduction):
        return value

    gather_for_metrics = gather

    def unwrap_model(self, model):
        return model


def trainer(**more):
    """What TRL's methods read of their trainer."""
    plain = {
        "model": torch.nn.Module(), "accelerator": Accelerator(), "aux_loss_enabled": False,
        "_metrics": {"train": defaultdict(list)}, "_total_train_tokens": 0, "_tp_size": 1,
        "precompute_ref_logps": False,
        "beta": 0.1, "args": SimpleNamespace(gradient_checkpointing_kwargs=None, gradient_checkpointing=False),
    }  # fmt: skip
    return SimpleNamespace(**plain | more)


class Fused:
    """A model that answers as TRL's fused head does: log-probabilities of the labels, 0 where there is none."""

    is_gradient_checkpointing = False

    def __init__(self, net):
        self.net = net

    def __call__(self, input_ids, labels, attention_mask=None, **_):
        logits = self.net(input_ids, attention_mask=attention_mask).logits[:, :-1]
        targets = labels[:, 1:]
        found = logits.log_softmax(-1).gather(2, targets.clamp(min=0)[..., None]).squeeze(2) * (targets != -100)
        nothing = torch.zeros_like(found).detach()
        return SimpleNamespace(log_probs=found, entropy=nothing, mean_logits=nothing, is_top1=nothing > 0)


def attention(rows):
    """Everything up to the answer's end; what is behind it is padding."""
    return (rows["loss_mask"].flip(1).long().cumsum(1).flip(1) > 0).long()


def compare(ours, loss, net):
    """Values and gradients, theirs mapped by the names that both share."""
    net.zero_grad()
    loss.backward()
    value, _, gradients = ours
    assert value == pytest.approx(float(loss.detach()), rel=1e-5, abs=1e-5)
    theirs = {name: p.grad for name, p in net.named_parameters()}
    assert gradients.keys() == theirs.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, theirs[name], **CLOSE)


def paired(batch):
    """Pairs as TRL's DPO takes them: the chosen rows, then the rejected."""
    sides = [{k.split("_", 1)[1]: v for k, v in batch.items() if k.startswith(s)} for s in ("chosen", "rejected")]
    return {name: torch.cat((sides[0][name], sides[1][name])) for name in sides[0]}


@pytest.mark.parametrize(("kind", "make"), [("sigmoid", dpo), ("ipo", ipo)])
@pytest.mark.parametrize("beta", [0.1, 0.5])
def test_dpo_and_ipo(trl, both_sides, kind, make, beta):
    model, reference, net, net_reference = both_sides
    rows = paired(pairs())
    stub = trainer(
        beta=beta, loss_types=[kind], loss_weights=[1.0], label_smoothing=0.0, ld_alpha=None, use_weighting=False,
        f_divergence_type="reverse_kl", ref_model=Fused(net_reference),
    )  # fmt: skip
    stub.model.is_gradient_checkpointing = False
    inputs = {
        "input_ids": rows["tokens"], "attention_mask": attention(rows), "completion_mask": rows["loss_mask"].long(),
    }  # fmt: skip
    loss = trl.dpo._compute_loss(stub, Fused(net), inputs, False)
    found = run(make(reference, beta=beta), model, pairs())
    compare(found, loss, net)
    log = {name: values[-1] for name, values in stub._metrics["train"].items()}
    assert found[1]["chosen_reward"] == pytest.approx(log["rewards/chosen"], abs=1e-4)
    assert found[1]["margin"] == pytest.approx(log["rewards/margins"], abs=1e-4)
    assert found[1]["accuracy"] == pytest.approx(log["rewards/accuracies"])


def net_totals(net, rows, mean=False):
    """Log-probabilities of answers by transformers."""
    labels = rows["tokens"].masked_fill(~rows["loss_mask"], -100)
    sums = Fused(net)(rows["tokens"], labels, attention(rows)).log_probs.sum(1)
    return sums / rows["loss_mask"].sum(1) if mean else sums


def test_smoothed_dpo(trl, both_sides):
    """TRL keeps the smoothed form in its CPO trainer, over what is there no ratio."""
    model, reference, net, net_reference = both_sides
    rows = paired(pairs())
    chosen, rejected = (net_totals(net, rows) - net_totals(net_reference, rows)).chunk(2)
    stub = trainer(alpha=0.0, loss_type="sigmoid", label_smoothing=0.2)
    loss = trl.cpo.cpo_loss(stub, chosen, rejected)[0].mean()
    compare(run(dpo(reference, label_smoothing=0.2), model, pairs()), loss, net)


def test_simpo(trl, both_sides):
    model, _, net, _ = both_sides
    chosen, rejected = net_totals(net, paired(pairs()), mean=True).chunk(2)
    stub = trainer(alpha=0.0, loss_type="simpo", simpo_gamma=0.7, beta=2.5, label_smoothing=0.0)
    losses, good, _ = trl.cpo.cpo_loss(stub, chosen, rejected)
    found = run(simpo(beta=2.5, gamma=0.7), model, pairs())
    compare(found, losses.mean(), net)
    assert found[1]["chosen_reward"] == pytest.approx(float(good.mean()), abs=1e-4)


def test_orpo(trl, both_sides):
    model, _, net, _ = both_sides
    batch = {}
    for name in ("chosen", "rejected"):
        rows = {k.removeprefix(f"{name}_"): v for k, v in pairs().items() if k.startswith(name)}
        batch |= {
            f"{name}_input_ids": rows["tokens"],
            f"{name}_attention_mask": attention(rows),
            f"{name}_labels": rows["tokens"].masked_fill(~rows["loss_mask"], -100),
        }
    stub = trainer(beta=0.3, is_encoder_decoder=False, padding_value=0)
    for method in ("concatenated_forward", "odds_ratio_loss"):
        setattr(stub, method, getattr(trl.orpo, method).__get__(stub))
    for static in ("concatenated_inputs", "get_batch_logps"):
        setattr(stub, static, getattr(trl.orpo, static))
    loss, log = trl.orpo.get_batch_loss_metrics(stub, net, batch)
    found = run(Orpo(beta=0.3), model, pairs())
    compare(found, loss, net)
    assert found[1]["likelihood"] == pytest.approx(log["nll_loss"], abs=1e-4)


@pytest.mark.parametrize("labels", [[1, 0, 1, 0, 1], [1, 1, 1, 1, 1]])
def test_kto_with_its_estimate_of_the_divergence(trl, both_sides, labels):
    """TRL makes the mismatched answers itself; ours must be the same ones."""
    from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference as Collator

    model, reference, net, net_reference = both_sides
    rows = answers(5, width=14) | {"label": torch.tensor(labels)}
    texts = []
    for tokens, mask in zip(rows["tokens"], rows["loss_mask"], strict=True):
        start = int(mask.long().argmax())
        texts.append({"prompt_ids": tokens[:start].tolist(), "completion_ids": tokens[mask].tolist()})
    for k, text in enumerate(texts):
        text |= {"KL_completion_ids": texts[k - 1]["completion_ids"], "label": bool(labels[k])}
    inputs = Collator(pad_token_id=0)(texts)
    other = mismatched(rows)
    width = inputs["KL_input_ids"].shape[1]
    assert torch.equal(other["tokens"][:, :width] * attention(other)[:, :width], inputs["KL_input_ids"])
    stub = trainer(
        calculate_KL=True, ref_model=Fused(net_reference), loss_type="kto", desirable_weight=1.0,
        undesirable_weight=0.7,
    )  # fmt: skip
    stub.model.is_gradient_checkpointing = False
    stub._compute_kl_logps = trl.kto._compute_kl_logps.__get__(stub)
    loss = trl.kto._compute_loss(stub, Fused(net), inputs, False)
    found = run(Kto(reference, undesirable_weight=0.7), model, rows)
    compare(found, loss, net)
    assert found[1]["kl"] == pytest.approx(stub._metrics["train"]["kl"][0], abs=1e-4)
    assert found[1]["chosen_reward"] == pytest.approx(stub._metrics["train"]["rewards/chosen"][0], abs=1e-4)


def test_reward(trl, tmp_path):
    """The reward model's loss, and what TRL logs of it."""
    from transformers import LlamaForSequenceClassification

    model, batch = from_language(tiny(), seed=1), pairs()
    save(model, tmp_path)
    net = LlamaForSequenceClassification.from_pretrained(tmp_path)
    rows = paired(batch)
    mask = attention(rows)
    stub = trainer(args=SimpleNamespace(center_rewards_coefficient=None))
    loss = trl.reward.compute_loss(stub, net, {"input_ids": rows["tokens"] * mask, "attention_mask": mask})
    found = run(BradleyTerry(), model, batch)
    compare(found, loss, net)
    assert found[1]["accuracy"] == pytest.approx(stub._metrics["train"]["accuracy"][0])
    assert found[1]["margin"] == pytest.approx(stub._metrics["train"]["margin"][0], abs=1e-5)


def rollout(rows=6, prompt=3, longest=5):
    """Answers of different lengths to prompts of one length, with old log-probabilities that differ from the new."""
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(1, VOCAB, (rows, prompt + longest), generator=generator)
    lengths = torch.randint(1, longest + 1, (rows, 1), generator=generator)
    places = torch.arange(prompt + longest)[None]
    mask = (places >= prompt) & (places < prompt + lengths)
    rewards = torch.tensor([1.0, 0.0, 0.5, 0.2, 0.9, 0.9])
    return {"tokens": tokens * ((places < prompt) | mask), "loss_mask": mask}, rewards


def per_token(net, rows):
    labels = rows["tokens"].masked_fill(~rows["loss_mask"], -100)
    return Fused(net)(rows["tokens"], labels, attention(rows)).log_probs


@pytest.mark.parametrize("kind", ["grpo", "bnpo", "dr_grpo", "dapo"])
@pytest.mark.parametrize("kl_weight", [0.0, 0.04])
def test_grpo(trl, both_sides, kind, kl_weight):
    model, reference, net, net_reference = both_sides
    rows, rewards = rollout()
    prompt = 3
    noise = torch.rand(rows["tokens"].shape[0], rows["tokens"].shape[1] - 1, generator=torch.Generator().manual_seed(5))
    old = (per_token(net, rows).detach() + 0.6 * (noise - 0.5)) * rows["loss_mask"][:, 1:]
    before = per_token(net_reference, rows).detach()
    advantages = group_relative(rewards, 3)
    stub = trainer(
        top_entropy_quantile=1.0, off_policy_mask_threshold=None, importance_sampling_level="token", beta=kl_weight,
        loss_type=kind, epsilon_low=0.1, epsilon_high=0.2, use_vllm=False, _entropy_bonus_enabled=False,
        current_gradient_accumulation_steps=1, max_completion_length=9,
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=1),
    )  # fmt: skip
    stub._get_per_token_logps_and_entropies = lambda model, *a, **k: (
        per_token(net, rows)[:, prompt - 1 :], torch.zeros_like(old[:, prompt - 1 :]), None,
    )  # fmt: skip
    inputs = {
        "prompt_ids": rows["tokens"][:, :prompt], "prompt_mask": torch.ones_like(rows["tokens"][:, :prompt]),
        "completion_ids": rows["tokens"][:, prompt:], "completion_mask": rows["loss_mask"][:, prompt:].long(),
        "advantages": advantages, "old_per_token_logps": old[:, prompt - 1 :],
        "ref_per_token_logps": before[:, prompt - 1 :], "num_items_in_batch": rows["loss_mask"].sum(),
    }  # fmt: skip
    loss = trl.grpo._compute_loss(stub, net, inputs)
    aggregate = {"grpo": "sequence", "dr_grpo": "constant"}.get(kind, "token")
    objective = grpo(clip_low=0.1, clip_high=0.2, aggregate=aggregate, max_parts=9, kl_weight=kl_weight)
    batch = rows | {
        "advantages": advantages[:, None].expand_as(old), "old_log_probs": old, "reference_log_probs": before,
    }  # fmt: skip
    found = run(objective, model, batch)
    compare(found, loss, net)
    log = stub._metrics["train"]
    assert found[1]["clipped"] == pytest.approx(log["clip_ratio/region_mean"][0], abs=1e-5)
    assert found[1]["clipped"] > 0
    if kl_weight:
        assert found[1]["kl"] == pytest.approx(log["kl"][0], abs=1e-4)
    parts = run(objective, model, batch, 2)
    assert parts[0] == pytest.approx(found[0], rel=1e-5, abs=1e-6)
    assert parts[1] == pytest.approx(found[1], rel=1e-4, abs=1e-5)


def test_rloo(trl, both_sides):
    model, _, net, _ = both_sides
    rows, rewards = rollout()
    prompt, advantages = 3, leave_one_out(rewards, 3)
    now = per_token(net, rows).detach()
    old = now - 0.1 * now.sign() * torch.tensor([1.0, -1, 2, 0, 1, -2])[:, None] * rows["loss_mask"][:, 1:]
    stub = trainer(epsilon_low=0.2, epsilon_high=0.2)
    stub._get_per_token_logps_and_entropies = lambda model, *a, **k: (
        per_token(net, rows)[:, prompt - 1 :], torch.zeros_like(old[:, prompt - 1 :]), None,
    )  # fmt: skip
    inputs = {
        "prompt_ids": rows["tokens"][:, :prompt], "prompt_mask": torch.ones_like(rows["tokens"][:, :prompt]),
        "completion_ids": rows["tokens"][:, prompt:], "completion_mask": rows["loss_mask"][:, prompt:].long(),
        "advantages": advantages, "old_logps": (old * rows["loss_mask"][:, 1:]).sum(1),
    }  # fmt: skip
    loss = trl.rloo._compute_loss(stub, net, inputs)
    batch = rows | {"advantages": advantages[:, None].expand_as(old), "old_log_probs": old}
    compare(run(rloo(), model, batch), loss, net)


def scored(generated, rewards, **more):
    """What TRL's method that makes a rollout reads of its trainer; the answers and what they earn are there already."""
    stub = trainer(
        _generate=lambda prompts: generated, _calculate_rewards=lambda *a: rewards, reward_func_names=["a", "b"],
        reward_weights=torch.tensor([0.5, 2.0]), num_generations=4, reward_clip_range=None, normalize_advantages=False,
        multi_objective_aggregation="sum_then_normalize", mask_truncated_completions=False, num_iterations=1,
        _get_per_token_logps_and_entropies=None, ref_model=None, use_vllm=False, log_multimodal=False,
        environment_factories=None, environments=None, tools=None, pad_to_multiple_of=None,
        _tokenizer=SimpleNamespace(pad_token_id=0), _pending_extra_logs={}, _pending_metrics={},
        _logs=defaultdict(list, rewards=defaultdict(list)),
        args=SimpleNamespace(
            per_device_train_batch_size=12, steps_per_generation=1, gradient_accumulation_steps=1,
            gradient_checkpointing_kwargs=None,
        ),
    )  # fmt: skip
    stub.model.is_gradient_checkpointing, stub.accelerator.process_index = False, 0
    return SimpleNamespace(**vars(stub) | more)


def test_advantages_are_trls(trl):
    """By the very methods that make TRL's rollouts: GRPO's with and without the deviation, RLOO's with k1."""
    rewards = torch.rand(12, 2, generator=torch.Generator().manual_seed(1))
    rewards[4:8] = 1.0  # a group in which nothing is to be learned
    earned = rewards @ torch.tensor([0.5, 2.0])
    inputs, prompts, answers, texts = [{"prompt": "?"}] * 12, [[3, 4]] * 12, [[5, 6, 7]] * 12, ["!"] * 12
    for scale, normalise in (("group", True), ("none", False)):
        made = (prompts, answers, None, texts, None, {}, None, None)
        stub = scored(made, rewards, beta=0.0, scale_rewards=scale)
        found = trl.grpo._generate_and_score_completions(stub, inputs)["advantages"]
        torch.testing.assert_close(group_relative(earned, 4, normalise=normalise), found, **CLOSE)
    reference = torch.nn.Linear(1, 1)
    now, before = -torch.rand(2, 12, 3, generator=torch.Generator().manual_seed(2))
    for beta in (0.0, 0.3):
        stub = scored((prompts, answers, texts), rewards, beta=beta, ref_model=reference)
        stub._get_per_token_logps_and_entropies = lambda model, *_, **__: (
            before if model is reference else now, None, None,
        )  # fmt: skip
        found = trl.rloo._generate_and_score_completions(stub, inputs)["advantages"]
        torch.testing.assert_close(leave_one_out(earned - beta * (now - before).sum(1), 4), found, **CLOSE)
