"""What can be said of a text by reading it: rhyme, meter, variety, overlap, topic, manners. Knows no model."""
