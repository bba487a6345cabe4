"""The evening, part 1: arrays, the tape, tensors."""
