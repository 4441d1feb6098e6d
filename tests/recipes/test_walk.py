"""A walk: so many frames, round and back, the same at every look."""

import torch
from PIL import Image

from makar.core.nouns import Model, Request
from makar.engine.run import Engine
from makar.families.gan.family import FAMILY
from makar.families.gan.settings import GanSettings
from makar.recipes.run import Run
from makar.recipes.walk import FRAMES, STATIONS, latent_walk, walk_file, write_animation


def test_a_walk_passes_its_stations_and_comes_round(tmp_path):
    config, _ = FAMILY.tiny()
    torch.manual_seed(0)
    model, run = Model(FAMILY, config, FAMILY.build(config)), Run(tmp_path / "run")
    look = latent_walk(GanSettings(), classes=2, seed=5, run=run)
    look(30, model)
    first = walk_file(run, 30).read_bytes()
    with Image.open(walk_file(run, 30)) as walk:
        assert (walk.n_frames, walk.info["loop"], walk.size) == (STATIONS * FRAMES, 0, (128, 128))
        walk.seek(FRAMES)
        station = walk.convert("L").resize((8, 8), Image.Resampling.NEAREST)
    plain = Engine(model).generate([Request(0, seed=6)])[0].data
    assert station.tobytes() == plain.tobytes()
    look(30, model)
    assert walk_file(run, 30).read_bytes() == first


def test_colours_move_too(tmp_path):
    frames = [Image.new("RGB", (200, 100), colour) for colour in ("red", "green")]
    write_animation(frames, tmp_path / "two.gif")
    with Image.open(tmp_path / "two.gif") as found:
        assert (found.n_frames, found.size) == (2, (200, 100))
