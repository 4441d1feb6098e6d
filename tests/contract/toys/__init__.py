"""Four small families on two-dimensional data: they keep trainer, engine and folders from knowing only text."""

from tests.contract.toys import clip, diffusion, gan, vae

TOYS = {family.name: family for family in (diffusion.FAMILY, gan.FAMILY, vae.FAMILY, clip.FAMILY)}
