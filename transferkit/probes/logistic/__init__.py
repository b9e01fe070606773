"""Multinomial logistic regression for many values of C: the rows, reduced and in blocks, and the solver.

scikit-learn's `LogisticRegression` was weighed and is the reference of the tests. It fits one value of C at a time on
rows in memory; the path here shares one factorisation between all values of C, reads rows in blocks from disk, and
takes a half to a fifth of the processor time (`python -m benchmarks.probes`). The minimiser is SciPy's L-BFGS-B.
"""
