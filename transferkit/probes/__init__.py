"""Classifiers on fixed features: logistic regression and nearest neighbours, as scikit-learn estimators.

May import: the modules beside the packages, `config`, `data`, `backbones`, `features`.
"""
