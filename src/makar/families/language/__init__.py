"""Language: a decoder of tokens, trained on the next one."""
