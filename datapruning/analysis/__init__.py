"""What can be learned about a data set: label issues, influence, predicted probabilities, advice on the fraction."""
