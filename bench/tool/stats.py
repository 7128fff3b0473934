# SPDX-License-Identifier: MIT
"""stats.py - the few statistics the suite needs."""
import math
import statistics

median = statistics.median


def geometric_mean(values):
    values = list(values)
    return math.exp(sum(math.log(v) for v in values) / len(values)) if values else None


def mann_whitney(first, second):
    """Two-sided p of the U test: exact without ties, else normal with the tie correction."""
    n, m = len(first), len(second)
    ranked = sorted([(v, 0) for v in first] + [(v, 1) for v in second])
    ranks = [0.0, 0.0]
    ties = 0.0
    at = 0
    while at < n + m:
        end = at
        while end < n + m and ranked[end][0] == ranked[at][0]:
            end += 1
        size = end - at
        ties += size ** 3 - size
        for k in range(at, end):
            ranks[ranked[k][1]] += (at + 1 + end) / 2
        at = end
    u = ranks[0] - n * (n + 1) / 2
    u = min(u, n * m - u)
    if ties == 0 and n * m <= 1600:
        return min(1.0, 2 * exact_tail(n, m, int(u)))
    mean = n * m / 2
    total = n + m
    variance = n * m / 12 * (total + 1 - ties / (total * (total - 1)))
    if variance == 0:
        return 1.0
    z = (abs(u - mean) - 0.5) / math.sqrt(variance)
    return min(1.0, math.erfc(max(z, 0.0) / math.sqrt(2)))


def exact_tail(n, m, u):
    """P(U <= u) when both samples come from one distribution."""
    # ways[j] = arrangements of the members seen so far with statistic j
    ways = [1] + [0] * (n * m)
    for i in range(1, n + 1):
        # multiply by (1 - q^(m+i)) / (1 - q^i): the Gaussian binomial, term by term
        for j in range(n * m, m + i - 1, -1):
            ways[j] -= ways[j - m - i]
        for j in range(i, n * m + 1):
            ways[j] += ways[j - i]
    return sum(ways[:u + 1]) / math.comb(n + m, n)


def benjamini_hochberg(p_values):
    """Adjusted p values: rejecting those below q keeps the false discovery rate below q."""
    order = sorted(range(len(p_values)), key=lambda k: p_values[k], reverse=True)
    adjusted = [1.0] * len(p_values)
    lowest = 1.0
    for place, k in enumerate(order):
        rank = len(p_values) - place
        lowest = min(lowest, p_values[k] * len(p_values) / rank)
        adjusted[k] = lowest
    return adjusted
