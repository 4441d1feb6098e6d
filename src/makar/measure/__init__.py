"""What can be said of texts by reading them, of pictures by their features: rhyme, variety, manners, Fréchet distance."""
