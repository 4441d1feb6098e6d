"""The nouns, the errors, randomness, files: everything the other rooms stand on. Imports nothing else of makar."""
