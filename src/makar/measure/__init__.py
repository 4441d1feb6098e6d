"""What can be said of a text by reading it alone: rhyme, meter, variety, lengths. Knows no model."""
