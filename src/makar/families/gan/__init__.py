"""GAN: a generator that makes a picture at once, taught by a critic that learns with it."""
