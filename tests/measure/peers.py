"""Other people's measures, for comparison; torch-fidelity asks for torchvision, which these functions do not use."""

import sys
from unittest.mock import MagicMock, patch

import pytest

PRETENDED = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.datasets")


def fidelity(module):
    """A module of torch-fidelity, where it is installed."""
    with patch.dict(sys.modules, {name: MagicMock() for name in PRETENDED if name not in sys.modules}):
        return pytest.importorskip(f"torch_fidelity.{module}")
