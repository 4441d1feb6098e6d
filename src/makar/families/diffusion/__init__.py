"""Diffusion: a net that takes noise off pictures, step by step, from noise alone."""
