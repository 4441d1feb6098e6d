"""Vision and language: a decoder that sees pictures among its words, and answers in words."""
