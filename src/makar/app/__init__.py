"""What a person meets: the Python API, the command line, the terminal, the demo."""
