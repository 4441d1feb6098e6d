"""What can be said of texts and pictures by looking at them: rhyme, variety, manners, Fréchet distance."""
