"""Raw media to tensors and back: the tokenizer, chat templates, pixels, PNG files and what signs them."""
