"""The benchmark of rollouts takes real steps: the net changes, and making the answers is a part of the time."""

from benchmarks import generation, rollouts


def test_a_step_makes_answers_and_learns_from_them(tmp_path, monkeypatch):
    monkeypatch.setattr(generation, "SHAPE", generation.SHAPE | {"hidden_size": 40, "num_hidden_layers": 1})
    monkeypatch.setattr(rollouts, "GROUPS", 2)
    monkeypatch.setattr(rollouts, "LENGTH", 4)
    model = generation.made()
    before = model.net.model.norm.weight.clone()
    wholes, shares = rollouts.steps(model, tmp_path / "metrics.jsonl", 2)
    assert len(wholes) == len(shares) == 2
    assert all(0 < share < 1 for share in shares)
    assert not before.equal(model.net.model.norm.weight)
