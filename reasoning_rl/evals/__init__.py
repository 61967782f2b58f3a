"""Accuracy with honest intervals. No model, no sampling: numbers in, numbers out."""
