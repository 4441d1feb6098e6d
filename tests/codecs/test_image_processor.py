"""Pictures are brought to a tower's size as transformers' own processors do it, and so say the files."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from makar.codecs.image_processor import FILE, ImageProcessor, read_processor
from makar.core.errors import ModelError

SIDE = 16
SQUARE = {"height": SIDE, "width": SIDE}
PEERS = {
    "clip": lambda: CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=SQUARE),
    "siglip": lambda: SiglipImageProcessorPil(size=SQUARE),
}


@pytest.mark.parametrize("shape", [(20, 31), (40, 16), (16, 16), (8, 8)])
@pytest.mark.parametrize("kind", PEERS)
def test_the_peers_folder_prepares_pictures_as_the_peer_does(kind, shape, tmp_path):
    peer = PEERS[kind]()
    peer.save_pretrained(tmp_path)
    ours = read_processor(tmp_path, SIDE)
    assert ours.center_crop == (kind == "clip")
    values = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = torch.as_tensor(np.array(peer(Image.fromarray(values))["pixel_values"][0]))
    level = 1 / 255 / min(ours.std)
    torch.testing.assert_close(ours(Image.fromarray(values)), found, atol=1.01 * level, rtol=0)


@pytest.mark.parametrize("kind", PEERS)
def test_what_is_written_is_read_back_here_and_there(kind, tmp_path):
    ours = ImageProcessor(SIDE, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25), center_crop=kind == "clip")
    (tmp_path / FILE).write_text(json.dumps(ours.to_ecosystem()))
    assert read_processor(tmp_path, SIDE) == ours
    peer = type(PEERS[kind]()).from_pretrained(tmp_path)
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (9, 25, 3), dtype=np.uint8))
    found = torch.as_tensor(np.array(peer(picture)["pixel_values"][0]))
    torch.testing.assert_close(ours(picture), found, atol=1.01 / 255 / 0.2, rtol=0)


@pytest.mark.parametrize(
    "said", [{"size": {"height": 16, "width": 12}}, {"size": SQUARE, "resample": 2}, {"size": SQUARE, "crop_size": 8}]
)
def test_what_is_not_built_here_is_refused(said, tmp_path):
    (tmp_path / FILE).write_text(json.dumps(said))
    with pytest.raises(ModelError, match="not built here"):
        read_processor(tmp_path, SIDE)
