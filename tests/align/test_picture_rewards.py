"""Rewards of pictures: what each rule gives, and what is said of those that fail."""

import pytest
import torch

from makar.align.picture_rewards import Classifier, PictureReward, earned, judged, make_picture_rewards, total
from makar.core.errors import InputError, RecipeError

RED, GREY = torch.tensor([1.0, -1, -1]), torch.tensor([0.5, 0.5, 0.5])


def plain(*colours):
    return torch.stack(colours)[:, :, None, None].expand(-1, -1, 4, 4).contiguous()


def one(table, **ours):
    (reward,) = make_picture_rewards(table, **ours)
    return reward


def test_brightness_and_colour_have_known_values():
    images = plain(RED, GREY, -torch.ones(3))
    assert judged(one({"brightness": 1.0}), images, [None] * 3).tolist() == pytest.approx([1 / 3, 0.75, 0])
    assert judged(one({"colour": {"name": "red"}}), images, [None] * 3).tolist() == pytest.approx([1, 0, 0])
    assert judged(one({"colour": {"name": "cyan"}}), images, [None] * 3).tolist() == pytest.approx([-1, 0, 0])


def test_weights_add_up():
    rewards = make_picture_rewards({"brightness": 2.0, "colour": {"name": "red", "weight": -1.0}})
    found = earned(rewards, plain(RED, GREY), [None, None])
    assert total(rewards, found).tolist() == pytest.approx([2 / 3 - 1, 1.5])


def test_the_class_score_is_the_log_probability_of_the_asked_class():
    logits = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 0.0]])
    classify = Classifier(lambda images: logits, ("bag", "boot", "coat"), asked=("coat", "boot"))
    images = torch.zeros(2, 1, 4, 4)
    wanted = logits.log_softmax(1)
    found = judged(one({"class": 1.0}, classify=classify), images, [0, "boot"])
    torch.testing.assert_close(found, torch.stack((wanted[0, 2], wanted[1, 1])))
    found = judged(one({"class": {"name": "bag"}}, classify=classify), images, [0, "boot"])
    torch.testing.assert_close(found, wanted[:, 0])
    with pytest.raises(InputError, match=r"no such class.*did you mean 'boot'"):
        judged(one({"class": 1.0}, classify=classify), images, ["boots", "bag"])
    with pytest.raises(InputError, match="no such class"):
        make_picture_rewards({"class": {"name": "hat"}}, classify=classify)


def test_rules_have_a_gradient():
    images = plain(RED, GREY).requires_grad_()
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))
    rewards = make_picture_rewards(
        {"brightness": 1.0, "colour": {"name": "blue"}, "class": 1.0}, classify=Classifier(net, ("a", "b"))
    )
    for reward in rewards:
        (gradient,) = torch.autograd.grad(judged(reward, images, [0, 1]).sum(), images)
        assert gradient.abs().sum() > 0, reward.name


def test_a_persons_function_sees_images_and_prompts(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "def score(images, prompts):\n    return [len(p) + float(i.mean()) for i, p in zip(images, prompts)]\n"
    )
    reward = one({"python": {"function": f"{file}:score"}})
    assert judged(reward, torch.ones(2, 1, 4, 4), ["a", "abc"]).tolist() == [2, 4]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (lambda images, prompts: images.flatten(1).mean(1) / 0, r"reward mine.py:f, row 10: the reward gave nan"),
        (lambda images, prompts: images.mean(), r"another shape .*got \(\)"),
        (
            lambda images, prompts: torch.tensor([1 / len(p) for p in prompts]),
            r"row 11: the reward raised ZeroDivisionError",
        ),
    ],
)
def test_a_reward_that_fails_is_named_with_its_row(rule, words):
    reward = PictureReward("python", rule, where="mine.py:f")
    with pytest.raises(InputError, match=words):
        judged(reward, torch.zeros(2, 1, 4, 4), ["a", ""], first=10)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "no reward.*brightness, colour, class"),
        ({"brigthness": 1.0}, "did you mean 'brightness'"),
        ({"brightness": {"weight": "high"}}, "the weight is not a number"),
        ({"colour": 1.0}, "option 'name' is missing"),
        ({"colour": {"name": "pink"}}, "option 'name'.*'red'"),
        ({"class": 1.0}, "no classes to tell apart"),
        ({"clip": {"path": "@clip"}}, "no CLIP"),
        ({"people": {"path": "choices.jsonl"}}, "no choices"),
        ({"scene": 1.0}, "only scenes have a judge"),
        ({"class": {"classify": "x"}}, "no such option 'classify'"),
    ],
)
def test_what_a_recipe_may_not_say(table, words):
    with pytest.raises(RecipeError, match=words):
        make_picture_rewards(table)


def test_a_grey_picture_has_no_colour():
    with pytest.raises(InputError, match="a grey picture has no colour"):
        judged(one({"colour": {"name": "red"}}), torch.zeros(1, 1, 4, 4), [None])
