"""Clustered paired bootstrap, sign flips, corrections, correlations, power: arrays in, numbers out.

Whole clusters are resampled, because items that share a source (one question at several gold
positions) are not independent; intervals from single items are then far too narrow.
"""

from needlework.statistics.bootstrap import Difference, Interval, PairedBootstrap, Ranks
from needlework.statistics.clusters import cluster_weights
from needlework.statistics.correlation import Correlation, pearson, spearman, within_groups
from needlework.statistics.families import benjamini_hochberg, holm
from needlework.statistics.power import detectable_difference, seed_spread
from needlework.statistics.sign_flip import sign_flip

__all__ = [
    "Correlation",
    "Difference",
    "Interval",
    "PairedBootstrap",
    "Ranks",
    "benjamini_hochberg",
    "cluster_weights",
    "detectable_difference",
    "holm",
    "pearson",
    "seed_spread",
    "sign_flip",
    "spearman",
    "within_groups",
]
