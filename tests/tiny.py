"""The smallest recipe that learns; `{data}` stands for where its rows come from."""

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
