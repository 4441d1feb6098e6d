"""What a model gives back of held-out pictures, beside them: the suite "reconstruction"."""

from typing import Any

import torch
from torch import Tensor

from makar.evaluate.features import values_of
from makar.evaluate.picture_suites import COLUMNS, sheet
from makar.evaluate.pictures import SAMPLES, PictureMaterial, bytes_of
from makar.evaluate.report import Figure, Section
from makar.measure.frechet import frechet_distance
from makar.measure.reconstruction import perplexity, psnr, used


def reconstruction_section(material: PictureMaterial) -> tuple[Section, Any]:
    """How near pictures come back, and how many of a codebook's codes they take; and a sheet of some of both."""
    given = material.real.spread(material.options.samples or SAMPLES)
    answers, real = material.returned(given), given.pixels
    back = torch.stack([bytes_of(answer.data, material.shape[0]) for answer in answers])
    each = psnr(values_of(real), values_of(back))
    seen_back, seen_real = material.network.of(back), material.network.of(real)
    figures = {
        "psnr": Figure("mean over pictures, in dB; higher is better", {"model": float(each.mean())}),
        "psnr_error": Figure("its standard error", {"model": float(each.std()) / len(each) ** 0.5}),
        "frechet": Figure(
            f"distance of what came back from those very pictures, {material.network.name}; 0 where all came back",
            {"model": frechet_distance(seen_back, seen_real)},
        ),
        "pictures": Figure("given back", {"model": len(back)}),
    }
    if codes := [answer.info["codes"] for answer in answers if "codes" in answer.info]:
        figures |= code_figures(torch.stack([torch.as_tensor(code) for code in codes]), material)
    half = COLUMNS // 2
    rows = [
        part for start in (0, half) for part in (real[start : start + half], back[start : start + half]) if len(part)
    ]
    section = Section(
        "Pictures given back",
        f"Pictures of the split `{material.options.split}` through the model's codes and back; "
        "`evaluation-reconstructions.png` shows some above what became of them.",
        figures,
    )
    return section, sheet(rows, gap_after=2)


def code_figures(codes: Tensor, material: PictureMaterial) -> dict[str, Figure]:
    """How many codes of a codebook are used, where there is one."""
    neck: Any = getattr(getattr(material.model.config, "net", None), "bottleneck", None)
    if codes.is_floating_point() or neck is None:
        return {}
    meaning = "how many codes would be as varied, were they alike frequent"
    return {
        "codes_used": Figure("share of the codebook's codes that any takes", {"model": used(codes, neck.codes)}, "%"),
        "code_perplexity": Figure(meaning, {"model": perplexity(codes, neck.codes)}),
        "codes": Figure("in the codebook", {"model": neck.codes}),
    }
