"""The constants of the quadrant's rules, each with the measured cases that set it (quadrant_cases.py)."""

# Size. A linear classifier has one weight for each feature and class: fewer images than features leave it undetermined,
# and a network even more. Ants and bees (244 images, 1280 features) and 20 digits per class (200, 192) behave as small
# data; all digits (1079, 192) as large.
IMAGES_PER_FEATURE = 1.5
PER_CLASS = 50
SIZE_SLOPE = 1.4
"""Log-odds of "large" per doubling of the images."""

# Similarity. Each measurement adds to the log-odds of "different"; the thresholds themselves are fitted (rules.py).
DISTANCE_SLOPE, DISTANCE_MOST = 1.0, 2.5
"""Log-odds per doubling of the distance, and their limit."""
LAYERS_DIFFER = 1.5
"""Ratio of the distance in the early and the late layers from which one of them is named."""

SKILL_SLOPE, SKILL_MOST = 5.0, 1.5
"""Log-odds per unit of skill, and their limit."""

NEIGHBORS_SLOPE, NEIGHBORS_MOST = 6.0, 0.75
"""Log-odds per unit of that fraction, and their limit."""

COMPARABLE = 30
"""Images from which the accuracies of several stages, or of two models, are compared: measured on fewer, the best of
several is so by chance (ants and bees, 5 per class)."""
DEPTH_MOST = 1.5
"""Limit of the log-odds for a best stage below the top; they are its lead in standard errors."""
DEPTH_TOP = -0.4
"""Log-odds if the top stage is the best."""

# Certainty of a corner.
SURE, LIKELY = 0.85, 0.67
"""Probability of the corner from which it is called clear, and likely."""
WEAK, STRONG = 0.25, 1.0
"""Absolute log-odds below which evidence is called weak, and from which it is called strong."""
