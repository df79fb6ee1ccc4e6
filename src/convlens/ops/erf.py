"""The error function, which NumPy lacks.

Source: W. J. Cody, "Rational Chebyshev approximations for the error function", Mathematics of Computation 23, 1969:
three ranges, each a quotient of two polynomials, good to the last digits of float64.
"""

from math import pi, sqrt

import numpy as np

# erf(x) = x * P(x^2) / Q(x^2) for |x| <= 0.46875, highest power first
_P_SMALL = [
    1.85777706184603153e-1,
    3.16112374387056560e0,
    1.13864154151050156e2,
    3.77485237685302021e2,
    3.20937758913846947e3,
]
_Q_SMALL = [1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3]
# erfc(x) = exp(-x^2) * P(x) / Q(x) for 0.46875 <= x <= 4
_P_MIDDLE = [
    2.15311535474403846e-8,
    5.64188496988670089e-1,
    8.88314979438837594e0,
    6.61191906371416295e1,
    2.98635138197400131e2,
    8.81952221241769090e2,
    1.71204761263407058e3,
    2.05107837782607147e3,
    1.23033935479799725e3,
]
_Q_MIDDLE = [
    1.0,
    1.57449261107098347e1,
    1.17693950891312499e2,
    5.37181101862009858e2,
    1.62138957456669019e3,
    3.29079923573345963e3,
    4.36261909014324716e3,
    3.43936767414372164e3,
    1.23033935480374942e3,
]
# erfc(x) = exp(-x^2) / x * (1 / sqrt(pi) - z * P(z) / Q(z)) with z = 1 / x^2, for x >= 4
_P_LARGE = [
    1.63153871373020978e-2,
    3.05326634961232344e-1,
    3.60344899949804439e-1,
    1.25781726111229246e-1,
    1.60837851487422766e-2,
    6.58749161529837803e-4,
]
_Q_LARGE = [
    1.0,
    2.56852019228982242e0,
    1.87295284992346725e0,
    5.27905102951428412e-1,
    6.05183413124413191e-2,
    2.33520497626869185e-3,
]


def erf(x: np.ndarray) -> np.ndarray:
    """2 / sqrt(pi) * integral of exp(-t^2) from 0 to x, elementwise, in the type of x (float32 or float64)."""
    size = np.abs(x)
    y = np.empty_like(x)
    small, large = size <= 0.46875, size > 4
    middle = ~(small | large)

    t = x[small]
    z = t * t
    y[small] = t * np.polyval(_P_SMALL, z) / np.polyval(_Q_SMALL, z)

    t = size[middle]
    y[middle] = 1 - np.exp(-t * t) * np.polyval(_P_MIDDLE, t) / np.polyval(_Q_MIDDLE, t)

    t = np.minimum(size[large], 30)  # erf is 1 to the last bit from 6 on
    z = 1 / (t * t)
    y[large] = 1 - np.exp(-t * t) / t * (1 / sqrt(pi) - z * np.polyval(_P_LARGE, z) / np.polyval(_Q_LARGE, z))
    return np.copysign(y, x)
