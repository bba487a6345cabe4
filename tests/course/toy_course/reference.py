import numpy as np


def double(x):
    return x + x


def total(x):
    return np.array([sum(row) for row in x + x]), np.array([max(row) for row in x + x])
