"""The statistics of the evidence again, by plain loops over shares, pairs and draws."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import norm


def bins_of(p: Sequence[float], n_bins: int = 3) -> list[int]:
    """The bin of each probability: how many distinct inner quantiles it reaches, empty bins left out."""
    edges = sorted({float(np.quantile(p, place / n_bins)) for place in range(1, n_bins)})
    raw = [sum(each >= edge for edge in edges) for each in p]
    return [sorted(set(raw)).index(each) for each in raw]


def ece_of(y: Sequence[bool], p: Sequence[float], w: Sequence[float], n_bins: int = 3) -> float:
    """The weighted calibration error over the bins of the unweighted units."""
    own, total = bins_of(p, n_bins), 0.0
    for each in set(own):
        total += abs(sum(wi * (pi - yi) for wi, pi, yi, b in zip(w, p, y, own, strict=True) if b == each))
    return total / sum(w)


def auprc_of(y: Sequence[bool], p: Sequence[float], w: Sequence[float]) -> float:
    """The weighted mean over the positives of the precision where each of them is the last one called."""
    truth, value, weight = np.array(y), np.array(p), np.array(w)
    reached = value >= value[truth][:, np.newaxis]
    precision = (reached & truth) @ weight / np.maximum(reached @ weight, 1e-300)
    return float(weight[truth] @ precision / weight[truth].sum())


def brier_of(y: Sequence[bool], p: Sequence[float], w: Sequence[float]) -> float:
    """The weighted mean of the squared error."""
    return sum(wi * (pi - yi) ** 2 for wi, pi, yi in zip(w, p, y, strict=True)) / sum(w)


def cuts_of(y: Sequence[bool], p: Sequence[float], w: Sequence[float]) -> list[tuple[float, float]]:
    """Sensitivity and specificity at every cut."""
    total = {side: sum(wi for wi, yi in zip(w, y, strict=True) if yi is side) for side in (True, False)}
    found = []
    for cut in [*set(p), 2.0]:
        hit = sum(wi for wi, yi, pi in zip(w, y, p, strict=True) if yi and pi >= cut)
        spared = sum(wi for wi, yi, pi in zip(w, y, p, strict=True) if not yi and pi < cut)
        found.append((hit / total[True], spared / total[False]))
    return found


def auroc_of(y: Sequence[bool], p: Sequence[float], w: Sequence[float]) -> float:
    """The share of the weight of pairs that is ranked right, ties half."""
    truth, value, weight = np.array(y), np.array(p), np.array(w)
    apart = value[truth][:, np.newaxis] - value[~truth]
    pairs = np.outer(weight[truth], weight[~truth])
    return float((pairs * ((apart > 0) + (apart == 0) / 2)).sum() / pairs.sum())


def wilson_of(k: float, n: float, level: float = 0.9) -> tuple[float, float]:
    """Wilson 1927: the shares p with (k/n - p)^2 = z^2 p (1 - p) / n, the roots of a parabola."""
    z2 = norm.ppf((1 + level) / 2) ** 2
    low, high = sorted(np.roots([n + z2, -(2 * k + z2), k**2 / n]).real.tolist())
    return low, high


def stepped(p: Sequence[float]) -> list[float]:
    """Holm's adjustment, as Holm 1979 writes it."""
    order, adjusted, least = sorted(range(len(p)), key=lambda place: p[place]), [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = least
    return adjusted


def p_of_draws(draws: Sequence[float]) -> float:
    """Twice the share of draws on the smaller side of 0, with the added one."""
    tail = min(sum(each <= 1e-12 for each in draws), sum(each >= -1e-12 for each in draws))
    return min(1.0, 2 * (tail + 1) / (len(draws) + 1))


def acceleration_of(left_out: Mapping[int, Sequence[float]]) -> float:
    """BCa's acceleration from the values without each patient by stratum (Davison and Hinkley 1997, 5.3.2)."""
    second = third = 0.0
    for values in left_out.values():
        n, mean = len(values), sum(values) / len(values)
        influence = [(n - 1) * (mean - each) for each in values]
        second += sum(each**2 for each in influence) / n**2
        third += sum(each**3 for each in influence) / n**3
    return third / (6 * second**1.5) if second else 0.0


def bca_of(
    estimate: float, draws: Sequence[float], left_out: Mapping[int, Sequence[float]], level: float = 0.9
) -> tuple[float, float]:
    """BCa's ends; half of the draws that equal the estimate lie below it. Percentiles where nobody can be left out."""
    levels = np.array([(1 - level) / 2, (1 + level) / 2])
    if not left_out:
        return float(np.quantile(draws, levels[0])), float(np.quantile(draws, levels[1]))
    apart = [round(each - estimate, 12) for each in draws]
    below = sum((each < 0) + (each <= 0) for each in apart) / 2 / len(draws)
    z0 = norm.ppf(min(max(below, 0.5 / len(draws)), 1 - 0.5 / len(draws)))
    shifted = z0 + norm.ppf(levels)
    low, high = np.quantile(draws, norm.cdf(z0 + shifted / (1 - acceleration_of(left_out) * shifted)))
    return float(low), float(high)


def delong_by_pairs(y: Sequence[bool], *readers: Sequence[float]) -> tuple[list[float], np.ndarray]:
    """AUROCs of several readers, and their covariance from placements, pair by pair (DeLong 1988)."""
    areas, of_positives, of_negatives = [], [], []
    for p in readers:
        high, low = ([v for v, yes in zip(p, y, strict=True) if yes is side] for side in (True, False))
        wins = [[(a > b) + (a == b) / 2 for b in low] for a in high]
        areas.append(float(np.mean(wins)))
        of_positives.append(np.mean(wins, axis=1))
        of_negatives.append(np.mean(wins, axis=0))
    covariance = np.cov(of_positives) / len(of_positives[0]) + np.cov(of_negatives) / len(of_negatives[0])
    return areas, np.atleast_2d(covariance)


def exchanged_p_of(terms: Sequence[float], n_draws: int) -> float:
    """The share of exchanges of whole patients at least as far from 0; the signs drawn as the module draws them."""
    terms = [each for each in terms if each != 0]
    signs = np.random.default_rng(0).integers(0, 2, (n_draws, len(terms)))
    totals = [sum(each if sign else -each for each, sign in zip(terms, row, strict=True)) for row in signs]
    return (sum(abs(each) >= abs(math.fsum(terms)) - 1e-9 for each in totals) + 1) / (n_draws + 1)
