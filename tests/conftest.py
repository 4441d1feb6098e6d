"""Two cores are shared by many: every test runs on one thread."""

import torch

torch.set_num_threads(1)


def pytest_addoption(parser):
    parser.addoption("--golden", action="store_true", help="write the golden losses of tests/contract anew")
