"""The smallest recipes that learn."""

TINY = """
[data]
{data}
length = 24
[model]
family = "language"
vocab_size = 288
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 2
[train]
steps = 12
batch_size = 4
checkpoint_steps = 4
compile = "off"
[train.optimizer]
learning_rate = 1e-2
[watch]
validate_every = 6
validate_rows = 8
sample_every = 6
prompts = ["the moon", ""]
[sample]
max_tokens = 8
"""
"""A model of language; `{data}` stands for where its rows come from."""

SCENES = """
[stages.clip]
data = {{ sources = ["{emoji}"], rows = "scenes" }}
train = {{ steps = 1, batch_size = 4, compile = "off", precision = "fp32" }}
watch = {{ validate_rows = 4 }}
[stages.clip.model]
family = "clip"
vision = {{ hidden_size = 16, num_hidden_layers = 1, patch_size = 16 }}
text = {{ hidden_size = 16, num_hidden_layers = 2, vocab_size = 600 }}
projection_dim = 12

[stages.draw]
parts = {{ text = "@clip" }}
sample = {{ steps = 2 }}
data = {{ sources = ["{emoji}"], rows = "scenes" }}
train = {{ steps = 1, batch_size = 4, compile = "off", precision = "fp32" }}
watch = {{ validate_rows = 4, prompts = ["a cat in space"] }}
[stages.draw.model]
family = "diffusion"
prediction = "data"
[stages.draw.model.net]
kind = "mmdit"
sample_size = 32
patch_size = 8
num_layers = 2
num_attention_heads = 2
attention_head_dim = 8
joint_attention_dim = 32
pooled_projection_dim = 24
empty_tokens = 0
"""
"""A CLIP of scenes and a model that draws what it is told by it; `{emoji}` stands for the folder of a set."""
