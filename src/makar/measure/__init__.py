"""What can be said of texts by reading them, and of pictures by their features: rhyme, variety, manners, Fréchet distance."""
