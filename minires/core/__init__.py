"""Part 1 of the code to read in an evening: arrays, the tape and tensors."""
