"""Error bounds of the soft functions: how far a temperature puts them from their hard limits.

The bounds are this project's own, derived for it; each docstring sketches the proof. A bound that
anything satisfies tests nothing, so each comes with a fixed case that comes close to it: there the
same bound with a smaller constant, or a larger exponent, is violated.
"""

import functools

import jax
import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import greedyjax as gj
from helpers import assert_close, random_problem

EPS, TINY = np.finfo(np.float64).eps, np.finfo(np.float64).tiny
# Few shapes, so that JAX compiles little; examples differ in their numbers alone.
N, N_LONG = 8, 40
OMP_M, OMP_N = 12, 16
IHT_M, IHT_N, KEPT, STEPS = 16, 12, 3, 8  # Taller than wide: a gradient step can contract.

examples = functools.partial(settings, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 10**6)
dtypes = st.sampled_from([np.float64, np.complex128])


def log_uniform(low, high):
    return st.floats(np.log10(low), np.log10(high)).map(lambda exponent: 10.0**exponent)


# --- Rows of softsort ----------------------------------------------------------------------------


@functools.cache
def _sorts(k):
    return jax.jit(lambda v, tau: (gj.softsort(v, tau=tau, k=k), gj.hardsort(v, k=k)))


_softsorts = jax.jit(jax.vmap(lambda v, tau: gj.softsort(v, tau=tau), (None, 0)))


def rows(scores, tau, k=None):
    """P_tau, P and the off-mass q_i = 1 - P_tau[i, sigma(i)], summed because 1 - p cancels."""
    soft, hard = (np.asarray(P) for P in _sorts(k)(scores, tau))
    return soft, hard, np.where(hard == 1, 0, soft).sum(axis=1)


def falls(scores):
    """v_(i) - v_(i+1)."""
    return -np.diff(np.sort(scores)[::-1])


def nearest(scores):
    """g_i, the distance from v_(i) to the nearest other entry."""
    return np.minimum(np.r_[np.inf, falls(scores)], np.r_[falls(scores), np.inf])


def rounded(t):
    """1 + the relative rounding of a few sums of e^-t: their own, and t times that of t."""
    return 1 + 32 * EPS * (1 + t)


@st.composite
def scores_and_tau(draw, ties=True):
    """Scores in any order, scale and place, and a temperature.

    Distinct scores differ by far more than rounding: the library counts scores within 4 ulp as
    tied, and so would g have to.
    """
    gap = log_uniform(1e-3, 10)
    gaps = draw(st.lists(st.just(0.0) | gap if ties else gap, min_size=N - 1, max_size=N - 1))
    order = draw(st.permutations(range(N)))
    scale, offset = draw(log_uniform(1e-3, 1e3)), draw(st.floats(-10, 10))
    scores = scale * (offset + np.cumsum([0.0, *gaps]))[order]
    return scores, scale * draw(log_uniform(1e-3, 10))


# One far above equals, and a pair far above them: the extremes of what one gap can cost.
ONE_ABOVE = np.r_[1.0, np.zeros(N - 1)]
PAIR_ABOVE = np.r_[101.0, 100.0, np.zeros(N - 2)]


@examples(max_examples=300)
@given(scores_and_tau())
def test_what_a_row_loses(case):
    """e / (1 + e) <= q_i <= (n - 1) e with e = exp(-g_i / tau), and a row is 2 q and sqrt(2) q off.

    Proof: q = S / (1 + S), where S, the sum of exp(-|v_(i) - v_l| / tau) over the other entries,
    lies between its largest term e and (n - 1) e. The row less its limit is -q at the one and
    nonnegative entries of sum q elsewhere: 1-norm 2 q, 2-norm at most sqrt(2) q.
    """
    scores, tau = case
    soft, hard, q = rows(scores, tau)
    t = nearest(scores) / tau
    e = np.exp(-t)
    # Both sides may flush what is below TINY to 0.
    assert np.all(q <= (N - 1) * e * rounded(t) + N * TINY)
    assert np.all(q >= e / (1 + e) / rounded(t) - N * TINY)
    # An entry near 1 is rounded there, so its distance from 1 is good to a few EPS, absolutely.
    assert_close(np.abs(soft - hard).sum(axis=1), 2 * q, rtol=0, atol=32 * EPS)
    assert np.all(np.linalg.norm(soft - hard, axis=1) <= np.sqrt(2) * q + 32 * EPS)


def test_the_bounds_of_a_row_are_met():
    assert 0.999 < rows(ONE_ABOVE, 0.1)[2][0] / ((N - 1) * np.exp(-10)) < 1
    soft, hard, q = (each[0] for each in rows(PAIR_ABOVE, 1.0))
    assert_close(q, 1 / (1 + np.e))
    assert_close(np.linalg.norm(soft - hard), np.sqrt(2) * q)


@examples(max_examples=200)
@given(scores_and_tau(ties=False), st.sampled_from([1, 3, N]), log_uniform(1e-12, 1))
def test_uniform_bound_and_the_temperature_it_asks_for(case, k, wanted):
    """||P_tau - P||_inf <= 2 (n - 1) exp(-g / tau), so tau = g / log(2 (n - 1) / E) gives E.

    Proof: the 1-norm of a row is 2 q_i, and g_i is at least g, the smallest v_(i) - v_(i+1) with
    i <= k: entries below the k-th may come as close to one another as they like.
    """
    scores, tau = case
    g = falls(scores)[:k].min()
    enough = g / np.log(2 * (N - 1) / wanted)
    for tau, bound in ((tau, 2 * (N - 1) * np.exp(-g / tau)), (enough, wanted)):
        soft, hard, _ = rows(scores, tau, k)
        # As above, 1 - p is good to a few EPS, absolutely.
        assert np.linalg.norm(soft - hard, np.inf) <= bound * rounded(g / tau) + 32 * EPS


def test_the_uniform_bound_is_met():
    soft, hard, _ = rows(ONE_ABOVE, 1 / np.log(2 * (N - 1) / 1e-3), 1)
    assert 0.999e-3 < np.linalg.norm(soft - hard, np.inf) < 1e-3


def sum_over_series(scores, tau):
    """S_i = q_i / (1 - q_i), over the geometric series on each side of entry i."""
    soft, _, q = rows(scores, tau)
    sides = np.r_[1, np.full(len(scores) - 2, 2), 1]
    # Distinct scores: the largest entry of a row is the one at sigma(i).
    return q / soft.max(axis=1) * np.expm1(falls(scores).min() / tau) / sides


@examples(max_examples=150)
@given(seeds, st.just(0.0) | log_uniform(1e-2, 10), log_uniform(0.05, 100))
def test_dimension_free_bound(seed, spread, coldness):
    """S_i <= 2 / (exp(g / tau) - 1) where all gaps are at least g; half of it in the end rows.

    Proof: the m-th entry on either side is at least m g away, so each side adds at most the sum
    of exp(-m g / tau) over m >= 1; the first and the last row have one side.
    """
    rng = np.random.default_rng(seed)
    gaps = 1 + spread * rng.exponential(size=N_LONG - 1)
    scores = rng.permutation(np.cumsum(np.r_[0, gaps]))
    ratios = sum_over_series(scores, falls(scores).min() / coldness)
    assert ratios.max() <= rounded(coldness)


def test_the_dimension_free_bound_is_met():
    """By equal gaps, long before the number of entries counts."""
    ratios = sum_over_series(np.arange(float(N_LONG)), 1 / 0.7)
    assert_close(ratios[[0, N_LONG // 2, -1]], np.ones(3), rtol=1e-5)


@examples(max_examples=100)
@given(scores_and_tau(ties=False), st.floats(200, 600))
def test_sharp_rate(case, coldness):
    """-tau log q_i -> g_i as tau -> 0, each row at its own tau: the exponent is the right one.

    Proof: the logarithm of e / (1 + e) <= q <= (n - 1) e puts the rate within log(n - 1) tau / g_i
    of 1, below 1 % from g_i = 195 tau on. At g_i = 600 tau, q is still 1e-261.
    """
    scores, _ = case
    g = nearest(scores)
    soft = np.asarray(_softsorts(scores, g / coldness))
    _, hard, _ = rows(scores, 1.0)
    q = np.einsum("iij->ij", np.where(hard == 1, 0, soft)).sum(axis=1)
    assert np.all(np.abs(np.log(q) / -coldness - 1) < 0.01)


def test_the_rate_is_a_limit_and_needs_the_sum():
    for coldness, off in ((5, 0.3), (20, 0.09), (100, 0.019)):
        soft, _, q = rows(ONE_ABOVE, 1 / coldness)
        assert off < 1 + np.log(q[0]) / coldness < 1.01 * np.log(N - 1) / coldness
    assert 1 - soft[0, 0] == 0  # Of which there is no logarithm.


# --- The gate of soft-IHT ------------------------------------------------------------------------


@functools.cache
def _masks(k):
    return jax.jit(lambda v, tau: (gj.soft_topk_mask(v, k=k, tau=tau), gj.topk_mask(v, k=k)))


def gate(scores, k, tau):
    """d - 1 on the k largest scores, d elsewhere, and g / tau."""
    d, kept = (np.asarray(mask) for mask in _masks(k)(scores, tau))
    return d[kept == 1] - 1, d[kept == 0], falls(scores)[:k].min() / tau


@examples(max_examples=300)
@given(scores_and_tau(), st.sampled_from([1, 3]))
def test_gate_bound(case, k):
    """-(n - 1) e <= d_j - 1 <= (k - 1) e on the top k, 0 <= d_j <= k e off it, e = exp(-g / tau).

    Proof: row r puts 1 - q_r on its own entry, q_r <= (n - 1) e, and between 0 and e on any other.
    So the other k - 1 rows add at most (k - 1) e inside, and all k at most k e outside.
    """
    scores, tau = case
    inside, outside, t = gate(scores, k, tau)
    e = np.exp(-t)
    # d is rounded near 1, so d - 1 is good to a few EPS, absolutely.
    assert np.all(inside >= -(N - 1) * e * rounded(t) - 32 * EPS)
    assert np.all(inside <= (k - 1) * e * rounded(t) + 32 * EPS)
    assert np.all(outside >= 0)
    assert np.all(outside <= k * e * rounded(t) + N * TINY)


@examples(max_examples=100)
@given(log_uniform(1e-3, 1e3), st.floats(5, 30), st.floats(-10, 10))
def test_the_gate_bound_is_met_by_two_scores(scale, coldness, offset):
    """1 - d and d are e / (1 + e), the bound less a factor that tends to 1."""
    scores = scale * np.array([offset, offset + 1])
    (inside,), (outside,), t = gate(scores, 1, scale / coldness)
    e = np.exp(-t)
    assert_close(-inside, e / (1 + e), rtol=0, atol=4 * EPS)
    assert_close(outside, e / (1 + e), rtol=rounded(t) - 1, atol=0)


def test_the_gate_bounds_are_met_by_several_scores():
    inside, outside, t = gate(ONE_ABOVE, 1, 0.1)
    assert 0.999 < -inside[0] / ((N - 1) * np.exp(-t)) < 1
    assert 0.999 < outside.max() / np.exp(-t) < 1
    # The middle of three exceeds 1; by a tenth of (k - 1) e at most, over all gaps.
    inside, _, t = gate(np.r_[1.2, 0.0, -1.2, np.full(N - 3, -50.0)], 3, 1.0)
    assert 1 / 11 < inside[1] / (2 * np.exp(-t)) < 1 / 10


# --- Soft-OMP ------------------------------------------------------------------------------------


@functools.cache
def _omps(k):
    def both(A, y, w, tau):
        hard = gj.omp(A, y, sparsity=k, weights=w)
        return gj.soft_omp(A, y, sparsity=k, tau=tau, weights=w).x, hard.x, hard.support

    return jax.jit(both)


def omps(A, y, w, k, tau):
    """Soft-OMP's x, OMP's x and OMP's support."""
    return [np.asarray(each) for each in _omps(k)(A, y, w, tau)]


def fit(A, y, S):
    """Least squares on S."""
    x = np.zeros(A.shape[1], y.dtype)
    x[S] = np.linalg.lstsq(A[:, S], y, rcond=None)[0]
    return x


def soft_path(A, y, w, k, tau):
    """Soft-OMP by its definition: x, and the rows p_i."""
    P, r = np.zeros((0, OMP_N)), y
    for _ in range(k):
        scores = np.abs(w * (A.conj().T @ r))
        p = np.exp((scores - scores.max()) / tau)
        P = np.vstack([P, p / p.sum()])
        x = P.T @ np.linalg.lstsq(A @ P.T, y, rcond=None)[0]
        r = y - A @ x
    return x, P


def hard_path(A, y, w, k):
    """OMP's atoms, and the least of its gaps between the largest score and the second."""
    S, gaps, x = [], [], np.zeros(OMP_N)
    for _ in range(k):
        scores = np.abs(w * (A.conj().T @ (y - A @ x)))
        gaps.append(falls(scores)[0])
        S.append(int(np.argmax(scores)))
        x = fit(A, y, S)
    return S, min(gaps)


def factors(A, y, S):
    """C = (2 / sigma)(1 + sqrt(2) ||A|| / sigma) ||y||, and ||A|| / sigma."""
    norm, sigma = np.linalg.norm(A, 2), np.linalg.norm(A[:, S], -2)
    return 2 / sigma * (1 + np.sqrt(2) * norm / sigma) * np.linalg.norm(y), norm / sigma


@st.composite
def pursuits(draw):
    noise = draw(st.just(0.0) | log_uniform(1e-3, 0.5))
    A, _, y = random_problem(draw(seeds), OMP_M, OMP_N, 3, draw(dtypes), noise)
    w = 1 + draw(st.floats(0, 0.8)) * np.random.default_rng(draw(seeds)).uniform(-1, 1, OMP_N)
    return A, draw(log_uniform(1e-2, 1e2)) * y, w, draw(st.sampled_from([1, 3]))


def soft_omp_bound(A, y, w, k, tau):
    """||soft x - x||, its bound, rounding, and whether the bound's assumptions hold."""
    found = omps(A, y, w, k, tau)[0]
    x, P = soft_path(A, y, w, k, tau)
    # Scores are good to some EPS ||y||, and so rows to that over tau.
    scale = np.linalg.norm(y)
    assert_close(found / scale, x / scale, rtol=0, atol=100 * EPS * (1 + scale / tau))
    S = P.argmax(axis=1)
    C, ratio = factors(A, y, S)
    P[np.arange(k), S] = 0
    E = np.sqrt(2 * np.sum(P.sum(axis=1) ** 2))
    valid = len(set(S)) == k and ratio * E <= 0.5
    # Rounding is that of least squares: its condition times EPS, times ||y|| / sigma.
    return np.linalg.norm(found - fit(A, y, S)), C * E, 100 * EPS * ratio * C, valid


@examples(max_examples=200)
@given(pursuits(), log_uniform(2, 40))
def test_soft_omp_bound(case, coldness):
    """||soft x - x|| <= (2 / sigma)(1 + sqrt(2) ||A|| / sigma) ||y|| E where ||A|| E <= sigma / 2.

    S are the argmaxes of the rows, distinct; x is least squares on S; sigma = sigma_min(A_S) and
    E^2 = 2 sum q_i^2. Proof: ||P_tau - P|| <= E puts A P_tau^T within sigma / 2 of A_S, its
    pseudoinverse below 2 / sigma. Split soft x - x = (P_tau - P)^T soft z + P^T (soft z - z), and
    bound the last difference by Wedin's theorem.
    """
    error, bound, rounding, valid = soft_omp_bound(*case, hard_path(*case)[1] / coldness)
    assume(valid)
    assert error <= bound + rounding


def decay(A, y, w, k):
    """The corollary's D, and OMP's least gap g, with the least g / tau for which it is proved."""
    S, g = hard_path(A, y, w, k)
    C, ratio = factors(A, y, S)
    E = np.sqrt(2 * k) * (OMP_N - 1) * np.e  # Times exp(-g / tau).
    moved = 2 * w.max() * np.linalg.norm(A, 2) * C * E  # Times the same.
    for t in np.arange(1.5, 60, 0.5):
        if np.exp(-t) * max(moved * t / g, 2 * ratio * E) <= 1:
            return C * E, g, t
    return C * E, g, np.inf


@examples(max_examples=200)
@given(pursuits(), st.floats(0, 10))
def test_soft_omp_nears_omp_at_the_rate_of_its_least_gap_or_faster(case, colder):
    """||soft x - x|| <= D exp(-g / tau) for OMP's x and small tau: D = C E with q_i as below.

    Proof: an error of d so far moves every score by at most max(w) ||A|| d, and gaps by twice
    that. Where d = D exp(-g / tau) moves them by tau at most, q_i <= (n - 1) exp(1 - g / tau) and
    argmaxes are OMP's; the bound above then gives d for the next step.
    """
    D, g, coldness = decay(*case)
    assume(coldness <= 30)  # Or all would be rounding.
    coldness += colder
    soft, hard, support = omps(*case, g / coldness)
    S, _ = hard_path(*case)
    C, ratio = factors(*case[:2], S)
    assert support.tolist() == S
    assert np.linalg.norm(soft - hard) <= D * np.exp(-coldness) + 100 * EPS * ratio * C


def test_the_bounds_of_soft_omp_are_near():
    """For one atom of an orthonormal A the error is q ||y||; a pair chosen anyway costs nothing."""
    A, w = np.eye(OMP_M, OMP_N), np.ones(OMP_N)
    case = A, np.r_[1, 0.5, np.zeros(OMP_M - 2)], w, 1
    error, bound, rounding, valid = soft_omp_bound(*case, 0.05)
    assert valid
    assert error > 1e6 * rounding
    assert_close(error / bound, 1 / (2 * (1 + 2**0.5) * 2**0.5), rtol=1e-3)
    D, g, coldness = decay(*case)
    assert coldness < 25
    soft, hard, _ = omps(*case, g / 25)
    assert D * np.exp(-1.25 * 25) < np.linalg.norm(soft - hard) < D * np.exp(-25)
    # Hence only <=: mixing two atoms that are both chosen leaves their span as it is.
    case = A, np.r_[1, 0.95, 0.5, np.zeros(OMP_M - 3)], w, 3
    soft, hard, _ = omps(*case, hard_path(*case)[1] / 3)
    assert np.linalg.norm(soft - hard) < 1e-9 * np.exp(-3)


# --- Soft-IHT ------------------------------------------------------------------------------------


@jax.jit
def _ihts(A, y, w, step_size, tau, x, soft_x):
    args = {"sparsity": KEPT, "num_steps": 1, "step_size": step_size, "weights": w}

    def step(state, _):
        hard = gj.iht(A, y, x0=state[0], **args)
        soft = gj.soft_iht(A, y, x0=state[1], tau=tau, **args)
        return (hard.x, soft.x), (hard.x, soft.x)

    return jax.lax.scan(step, (x, soft_x), length=STEPS)[1]


def recursion(A, y, w, step_size, tau, x, soft_x):
    """e_{n+1}, the two terms of its bound, and rounding: a row per step while top sets agree."""
    xs, soft_xs = (np.asarray(each) for each in _ihts(A, y, w, step_size, tau, x, soft_x))
    norm, size = np.linalg.norm(A, 2), np.linalg.norm
    contraction = np.linalg.norm(np.eye(IHT_N) - step_size * A.conj().T @ A, 2)
    table = []
    for next_x, next_soft_x in zip(xs, soft_xs, strict=True):
        u, soft_u = (x + step_size * A.conj().T @ (y - A @ x) for x in (x, soft_x))
        v, soft_v = np.abs(w * u), np.abs(w * soft_u)
        if set(np.argsort(-v)[:KEPT]) != set(np.argsort(-soft_v)[:KEPT]):
            break
        # Of u, whose terms may cancel; a gap is that uncertain.
        rounding = 100 * EPS * (size(soft_x) + step_size * norm * (size(y) + norm * size(soft_x)))
        g = falls(soft_v)[:KEPT].min() - w.max() * rounding
        lost = (IHT_N - 1) * np.exp(-g / tau) * size(soft_u)
        table.append((size(next_soft_x - next_x), contraction * size(soft_x - x), lost, rounding))
        x, soft_x = next_x, next_soft_x
    return np.array(table).reshape(-1, 4).T


@examples(max_examples=200)
@given(
    seeds,
    dtypes,
    st.floats(0.1, 1.9),
    log_uniform(0.5, 40),
    st.just(0.0) | log_uniform(1e-6, 0.3),
    log_uniform(0.1, 10),
    st.floats(0, 0.8),
)
def test_soft_iht_recursion(seed, dtype, step, coldness, apart, scale, spread):
    """e_{n+1} <= ||I - eta A*A|| e_n + (N - 1) exp(-g_n / tau) ||soft u_n||.

    g_n: least of v_(i) - v_(i+1), i <= s, in v = |w soft u_n|. Proof: with the same top set S,
    soft x - x = 1_S (soft u - u) + (d - 1_S) soft u, and soft u - u = (I - eta A*A)(soft x - x).
    """
    A, x, y = random_problem(seed, IHT_M, IHT_N, KEPT, dtype, noise=0.2)
    rng = np.random.default_rng(seed)
    A, w = scale * A, 1 + spread * rng.uniform(-1, 1, IHT_N)
    start = rng.standard_normal(IHT_N) * rng.integers(2) + 0 * x
    soft_start = start + apart * rng.standard_normal(IHT_N)
    step_size = step / np.linalg.norm(A, 2) ** 2
    u = soft_start + step_size * A.conj().T @ (y - A @ soft_start)
    tau = falls(np.abs(w * u))[:KEPT].min() / coldness
    error, carried, lost, rounding = recursion(A, y, w, step_size, tau, start, soft_start)
    assume(len(error) > 0)
    assert np.all(error <= carried + lost + rounding)
