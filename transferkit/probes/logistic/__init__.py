"""Multinomial logistic regression for many values of C: the rows, reduced and in blocks, and the solver."""
