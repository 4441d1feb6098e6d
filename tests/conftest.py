"""Two cores are shared by many: every test runs on one thread."""

import torch

torch.set_num_threads(1)
