"""A decoder as an ONNX graph: token ids of any number of rows and any length to logits."""

import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from makar.core.errors import ModelError, UserError
from makar.core.nouns import Model
from makar.nets.decoder import Decoder

INLINE = 1 << 30
"""Bytes of weights up to which they lie inside the graph's own file, which ends at 2 GB."""

CLOSE = 1e-3
"""How far the graph's logits may be from the net's, as a share of the largest."""


class Logits(nn.Module):
    """The net with one argument and one result."""

    def __init__(self, net: Decoder) -> None:
        super().__init__()
        self.net = net

    def forward(self, input_ids: Int[Tensor, "rows length"]) -> Float[Tensor, "rows length vocab"]:
        """Logits of the token after each."""
        return self.net(input_ids)


def write_onnx(model: Model[Decoder], folder: Path) -> None:
    """Write `model.onnx` (and its weights beside it where they are large) and check it with onnxruntime.

    Args:
        model: A language model; its tokenizer is written beside.
        folder: An existing folder.

    Raises:
        ModelError: It has a sliding window shorter than its context.
        UserError: A package is missing, or the graph gives other logits than the net.
    """
    try:
        import onnx  # noqa: F401  # pyright: ignore[reportUnusedImport]
        import onnxruntime
        import onnxscript  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as fault:
        raise UserError(f"{fault.name} is not installed", fix="pip install 'makar[onnx]'") from None
    net = model.net.eval()
    window = net.config.sliding_window
    if window is not None and window < net.config.max_position_embeddings:
        raise ModelError("a sliding window cannot be written for every length", value=window, fix="use transformers")
    example = torch.arange(6).view(2, 3) % net.config.vocab_size
    length = torch.export.Dim("length", min=2, max=net.config.max_position_embeddings)
    with quiet():
        program = torch.onnx.export(
            Logits(net),
            (example,),
            dynamo=True,
            verbose=False,
            input_names=["input_ids"],
            output_names=["logits"],
            dynamic_shapes={"input_ids": {0: torch.export.Dim("rows"), 1: length}},
        )
    assert program is not None, "dynamo=True gives a program"
    size = sum(parameter.nbytes for parameter in net.parameters())
    program.save(folder / "model.onnx", external_data=size > INLINE)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    for tokens in (example[:1, :1], example):
        with torch.no_grad():
            wanted = net(tokens)
        found = torch.from_numpy(session.run(None, {"input_ids": tokens.numpy()})[0])
        if float((found - wanted).abs().max()) > CLOSE * float(wanted.abs().max()):
            raise UserError("the graph gives other logits than the net", fix="another version of onnxscript may help")
    if "codec" in model.parts:
        model.family.folder.save_parts(model, folder)


@contextmanager
def quiet() -> Generator[None]:
    """The exporter warns of packages that no decoder needs and of its own old functions."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
