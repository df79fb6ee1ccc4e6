"""Training in several processes: who they are, what they tell each other, and the arithmetic that they share."""
