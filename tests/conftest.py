"""Two cores are shared by many: every test runs on one thread; and none makes a key among the person's settings."""

import os
import tempfile

import torch

torch.set_num_threads(1)
os.environ["MAKAR_CONFIG"] = tempfile.mkdtemp(prefix="makar-config-")


def pytest_addoption(parser):
    parser.addoption("--golden", action="store_true", help="write the golden losses of tests/contract anew")
