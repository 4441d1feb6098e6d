"""Raw media to tensors and back: the tokenizer."""
