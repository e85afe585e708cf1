"""Error bounds of the soft functions: how far a temperature is from the hard limit.

The bounds are this project's own, derived for it; each docstring sketches the proof. A bound that
anything satisfies tests nothing, so some case comes close to each one: there the same bound with a
smaller constant, or with a larger exponent, is violated.
"""

import functools

import jax
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import greedyjax as gj
from helpers import assert_close, random_problem
from oracles import omp as omp_oracle

EPS, TINY = np.finfo(np.float64).eps, np.finfo(np.float64).tiny
# Few shapes, so that JAX compiles little. IHT's is tall, so that a gradient step contracts.
N, N_LONG, OMP_M, OMP_N = 8, 40, 12, 16
IHT_M, IHT_N, KEPT, STEPS = 16, 12, 3, 8

examples = functools.partial(settings, deadline=None, derandomize=True, database=None)
seeds, dtypes = st.integers(0, 10**6), st.sampled_from([np.float64, np.complex128])
log_uniform = lambda low, high: st.floats(np.log(low), np.log(high)).map(lambda x: float(np.exp(x)))
norm = np.linalg.norm
# v_(i) - v_(i+1), and g_i, the distance from v_(i) to the nearest other entry.
falls = lambda v: -np.diff(np.sort(v)[::-1])
nearest = lambda v: np.minimum(np.r_[np.inf, falls(v)], np.r_[falls(v), np.inf])
# 1 + the relative rounding of a few sums of e^-t: their own, and t times that of t.
rounded = lambda t: 1 + 32 * EPS * (1 + t)


# --- Rows of softsort, and the gate that sums them -----------------------------------------------


@functools.partial(jax.jit, static_argnames="k")
def sorts(v, tau, k):
    soft = gj.softsort(v, tau=tau, k=k), gj.soft_topk_mask(v, k=k, tau=tau)
    return *soft, gj.hardsort(v, k=k), gj.topk_mask(v, k=k)


def rows(scores, tau, k=None):
    """P_tau, P and the off-mass q_i = 1 - P_tau[i, sigma(i)], summed because 1 - p cancels."""
    soft, _, hard, _ = map(np.asarray, sorts(scores, np.float64(tau), k or len(scores)))
    return soft, hard, np.where(hard == 1, 0, soft).sum(axis=1)


def gate(scores, k, tau):
    """d - 1 on the k largest scores, d elsewhere, and g / tau."""
    _, d, _, kept = map(np.asarray, sorts(scores, np.float64(tau), k))
    return d[kept == 1] - 1, d[kept == 0], falls(scores)[:k].min() / tau


@st.composite
def scores_and_tau(draw, ties=True):
    # Distinct scores differ by far more than the 4 ulp within which the library takes them as tied.
    gap = log_uniform(1e-3, 10)
    gaps = draw(st.lists(st.just(0.0) | gap if ties else gap, min_size=N - 1, max_size=N - 1))
    scale, offset = draw(log_uniform(1e-3, 1e3)), draw(st.floats(-10, 10))
    scores = scale * (offset + np.cumsum([0.0, *gaps]))[draw(st.permutations(range(N)))]
    return scores, scale * draw(log_uniform(1e-3, 10))


@pytest.mark.slow
@examples(max_examples=300)
@given(scores_and_tau())
def test_what_a_row_loses(case):
    """e / (1 + e) <= q_i <= (n - 1) e with e = exp(-g_i / tau); a row is 2 q and <= sqrt(2) q off.

    Proof: q = S / (1 + S), where S, the sum of exp(-|v_(i) - v_l| / tau) over the other entries,
    lies between e and (n - 1) e. A row less its limit is -q at the one; the rest is >= 0, of sum q.
    """
    scores, tau = case
    soft, hard, q = rows(scores, tau)
    t = nearest(scores) / tau
    e = np.exp(-t)
    # What is below TINY may be flushed to 0.
    assert np.all(q <= (N - 1) * e * rounded(t) + N * TINY)
    assert np.all(q >= e / (1 + e) / rounded(t) - N * TINY)
    # An entry near 1 is rounded there, so its distance from 1 is good to a few EPS, absolutely.
    assert_close(norm(soft - hard, 1, axis=1), 2 * q, rtol=0, atol=32 * EPS)
    assert np.all(norm(soft - hard, axis=1) <= np.sqrt(2) * q + 32 * EPS)


@pytest.mark.slow
@examples(max_examples=200)
@given(scores_and_tau(ties=False), st.sampled_from([1, 3, N]), log_uniform(1e-12, 1))
def test_uniform_bound_and_the_temperature_it_asks_for(case, k, wanted):
    """||P_tau - P||_inf <= 2 (n - 1) exp(-g / tau), so tau = g / log(2 (n - 1) / E) gives E.

    Proof: the 1-norm of a row is 2 q_i, and g_i is at least g, the smallest v_(i) - v_(i+1) with
    i <= k: entries below the k-th may come as close to one another as they like.
    """
    scores, drawn = case
    g = falls(scores)[:k].min()
    enough = g / np.log(2 * (N - 1) / wanted)
    for tau, bound in ((drawn, 2 * (N - 1) * np.exp(-g / drawn)), (enough, wanted)):
        soft, hard, _ = rows(scores, tau, k)
        assert norm(soft - hard, np.inf) <= bound * rounded(g / tau) + 32 * EPS  # As above.


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
    soft, hard, q = rows(scores, falls(scores).min() / coldness)
    sides = np.r_[1, np.full(N_LONG - 2, 2), 1]
    ratios = q / (soft * hard).sum(axis=1) * np.expm1(coldness) / sides
    assert ratios.max() <= rounded(coldness)
    if spread == 0 and coldness > 1:  # Equal gaps meet the bound.
        assert_close(ratios[[0, N_LONG // 2, -1]], np.ones(3), rtol=1e-8)


@examples(max_examples=100)
@given(scores_and_tau(ties=False), st.floats(200, 600))
def test_sharp_rate(case, coldness):
    """-tau log q_i -> g_i as tau -> 0, each row at its own tau: the exponent is the right one.

    Proof: the logarithm of e / (1 + e) <= q <= (n - 1) e puts the rate within log(n - 1) tau / g_i
    of 1, below 1 % from g_i = 195 tau on. At g_i = 600 tau, q is still 1e-261.
    """
    scores, _ = case
    q = np.array([rows(scores, tau)[2][i] for i, tau in enumerate(nearest(scores) / coldness)])
    assert np.all(np.abs(-np.log(q) / coldness - 1) < 0.01)


@pytest.mark.slow
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
    assert np.all((outside >= 0) & (outside <= k * e * rounded(t) + N * TINY))


def test_the_bounds_of_rows_and_gate_are_met():
    # One score above equals has the most to lose for its gap; a pair far above the rest, the least.
    one = np.r_[1.0, np.zeros(N - 1)]
    assert 0.999 < rows(one, 0.1)[2][0] / ((N - 1) * np.exp(-10)) < 1
    soft, hard, q = (each[0] for each in rows(np.r_[101.0, 100.0, np.zeros(N - 2)], 1.0))
    assert_close(q, 1 / (1 + np.e))
    assert_close(norm(soft - hard), np.sqrt(2) * q)
    soft, hard, _ = rows(one, 1 / np.log(2 * (N - 1) / 1e-3), 1)
    assert 0.999e-3 < norm(soft - hard, np.inf) < 1e-3
    for coldness, off in ((5, 0.3), (20, 0.09), (100, 0.019)):  # The rate is a limit.
        soft, _, q = rows(one, 1 / coldness)
        assert off < 1 + np.log(q[0]) / coldness < 1.01 * np.log(N - 1) / coldness
    assert 1 - soft[0, 0] == 0  # The sum q is needed: this has no logarithm.
    for scores in (np.r_[0.0, 1.0], one):
        inside, outside, t = gate(scores, 1, 0.1)
        assert 0.999 < -inside[0] / ((len(scores) - 1) * np.exp(-t)) < 1
        assert 0.999 < outside.max() / np.exp(-t) < 1
    # The middle of three exceeds 1, by nearly a tenth of (k - 1) e.
    inside, _, t = gate(np.r_[1.2, 0.0, -1.2, np.full(N - 3, -50.0)], 3, 1.0)
    assert 1 / 11 < inside[1] / (2 * np.exp(-t)) < 1 / 10


# --- Soft-OMP ------------------------------------------------------------------------------------


@functools.partial(jax.jit, static_argnames="k")
def omps(A, y, w, k, tau):
    """The answers of soft-OMP and of OMP, and the two supports."""
    soft = gj.soft_omp(A, y, sparsity=k, tau=tau, weights=w)
    hard = gj.omp(A, y, sparsity=k, weights=w)
    return soft.x, hard.x, soft.support, hard.support


def soft_path(A, y, w, k, tau):
    """Soft-OMP by its definition: x, and the rows p_i."""
    P, x = np.zeros((0, OMP_N)), np.zeros(OMP_N)
    for _ in range(k):
        scores = np.abs(w * (A.conj().T @ (y - A @ x)))
        p = np.exp((scores - scores.max()) / tau)
        P = np.vstack([P, p / p.sum()])
        x = P.T @ np.linalg.lstsq(A @ P.T, y, rcond=None)[0]
    return x, P


def least_gap(A, y, w, k):
    """The least, over OMP's steps, of the largest score minus the second."""
    residuals = [y - A @ omp_oracle(A, y, i, w).x for i in range(k)]
    return min(falls(np.abs(w * (A.conj().T @ r)))[0] for r in residuals)


def factors(A, y, S):
    """C = (2 / sigma)(1 + sqrt(2) ||A|| / sigma) ||y||, ||A|| / sigma, and what rounds off."""
    sigma = norm(A[:, S], -2)
    ratio = norm(A, 2) / sigma
    C = 2 / sigma * (1 + np.sqrt(2) * ratio) * norm(y)
    return C, ratio, 100 * EPS * ratio * C  # EPS times condition and ||y|| / sigma.


@st.composite
def pursuits(draw):
    noise = draw(st.just(0.0) | log_uniform(1e-3, 0.5))
    A, _, y = random_problem(draw(seeds), OMP_M, OMP_N, 3, draw(dtypes), noise)
    w = 1 + draw(st.floats(0, 0.8)) * np.random.default_rng(draw(seeds)).uniform(-1, 1, OMP_N)
    return A, draw(log_uniform(1e-2, 1e2)) * y, w, draw(st.sampled_from([1, 3]))


def soft_omp_bound(A, y, w, k, tau):
    """||soft x - x||, its bound, what rounds off, and whether the assumptions hold."""
    found, (soft_x, P) = omps(A, y, w, k, tau)[0], soft_path(A, y, w, k, tau)
    S = P.argmax(axis=1)
    C, ratio, rounding = factors(A, y, S)
    P[np.arange(k), S] = 0
    E = np.sqrt(2 * np.sum(P.sum(axis=1) ** 2))
    valid = len(set(S)) == k and ratio * E <= 0.5
    if valid:  # Rows are good to EPS ||y|| / tau, as their scores are to EPS ||y||.
        assert norm(found - soft_x) <= rounding + 100 * EPS * C * norm(y) / tau
    x = np.eye(OMP_N)[:, S] @ np.linalg.lstsq(A[:, S], y, rcond=None)[0]  # Least squares on S.
    return norm(found - x), C * E, rounding, valid


@pytest.mark.slow
@examples(max_examples=200)
@given(pursuits(), log_uniform(2, 40))
def test_soft_omp_bound(case, coldness):
    """||soft x - x|| <= (2 / sigma)(1 + sqrt(2) ||A|| / sigma) ||y|| E where ||A|| E <= sigma / 2.

    S: the rows' argmaxes, distinct; x: least squares on S; sigma = sigma_min(A_S); E = sqrt(2) |q|.
    Proof: ||P_tau - P|| <= E puts A P_tau^T within sigma / 2 of A_S, so Wedin's theorem bounds
    soft z - z in soft x - x = (P_tau - P)^T soft z + P^T (soft z - z).
    """
    error, bound, rounding, valid = soft_omp_bound(*case, least_gap(*case) / coldness)
    assume(valid)
    assert error <= bound + rounding


def decay(A, y, w, k):
    """The corollary's D, what rounds off, and the least g / tau for which it is proved."""
    C, ratio, rounding = factors(A, y, omp_oracle(A, y, k, w).support)
    E = np.sqrt(2 * k) * (OMP_N - 1) * np.e  # Times exp(-g / tau), as is what gaps move by.
    moved = 2 * w.max() * norm(A, 2) * C * E / least_gap(A, y, w, k)
    proved = [t for t in range(2, 60) if np.exp(-t) * max(moved * t, 2 * ratio * E) <= 1]
    return C * E, rounding, min(proved, default=np.inf)


@pytest.mark.slow
@examples(max_examples=200)
@given(pursuits(), st.floats(0, 10))
def test_soft_omp_nears_omp_at_least_at_the_rate_of_its_gap(case, colder):
    """||soft x - x|| <= D exp(-g / tau), g OMP's least gap, x its answer, tau small; D = C E.

    Proof: an error d so far moves gaps by at most 2 max(w) ||A|| d. Where that is below tau for
    d = D exp(-g / tau), the path is OMP's and q_i <= (n - 1) exp(1 - g / tau); by induction.
    """
    D, rounding, coldness = decay(*case)
    assume(coldness <= 30)  # Colder than that, all would be rounding.
    coldness += colder
    soft, hard, soft_support, support = omps(*case, least_gap(*case) / coldness)
    assert np.array_equal(soft_support, support)
    assert norm(soft - hard) <= D * np.exp(-coldness) + rounding


def test_the_bounds_of_soft_omp_are_near():
    # One atom orthogonal to all others: the error is q ||y||; and ||A|| = sqrt(2).
    A = np.eye(OMP_M)[:, np.r_[:OMP_M, OMP_M - 4 : OMP_M]]
    case = A, np.r_[1, 0.5, np.zeros(OMP_M - 2)], np.ones(OMP_N), 1
    error, bound, rounding, valid = soft_omp_bound(*case, np.float64(0.05))
    assert valid
    assert error > 1e6 * rounding
    assert_close(error / bound, 1 / (6 * np.sqrt(2)), rtol=1e-3)
    D, rounding, coldness = decay(*case)
    assert coldness < 25
    soft, hard, *_ = omps(*case, np.float64(0.5 / 25))
    assert D * np.exp(-1.3 * 25) + rounding < norm(soft - hard) < D * np.exp(-25)
    # Hence only <=: mixing two atoms that are both chosen leaves their span as it is.
    case = A, np.r_[1, 0.95, 0.5, np.zeros(OMP_M - 3)], np.ones(OMP_N), 3
    soft, hard, *_ = omps(*case, np.float64(0.05 / 3))
    assert norm(soft - hard) < 1e-9 * np.exp(-3)


# --- Soft-IHT ------------------------------------------------------------------------------------


@jax.jit
def ihts(A, y, w, step_size, tau, x, soft_x):
    """One step of IHT from x, and one of soft-IHT from soft x."""
    args = {"sparsity": KEPT, "num_steps": 1, "step_size": step_size, "weights": w}
    return gj.iht(A, y, x0=x, **args).x, gj.soft_iht(A, y, x0=soft_x, tau=tau, **args).x


def recursion(A, y, w, step_size, tau, x, soft_x):
    """e_{n+1}, the two terms of its bound, and rounding, per step while the top sets agree."""
    table, size = [], norm(A, 2)
    for _ in range(STEPS):
        u, soft_u = (each + step_size * A.conj().T @ (y - A @ each) for each in (x, soft_x))
        tops = [set(np.argsort(-np.abs(w * each))[:KEPT]) for each in (u, soft_u)]
        if tops[0] != tops[1]:
            break
        # That of soft u, whose terms may cancel; it makes the gap as uncertain.
        rounding = 100 * EPS * (norm(soft_x) + step_size * size * (norm(y) + size * norm(soft_x)))
        g = falls(np.abs(w * soft_u))[:KEPT].min() - w.max() * rounding
        lost = (IHT_N - 1) * np.exp(-g / tau) * norm(soft_u)
        carried = norm(np.eye(IHT_N) - step_size * A.conj().T @ A, 2) * norm(soft_x - x)
        x, soft_x = map(np.asarray, ihts(A, y, w, step_size, np.float64(tau), x, soft_x))
        table.append((norm(soft_x - x), carried, lost, rounding))
    return np.reshape(table, (-1, 4)).T


@pytest.mark.slow
@examples(max_examples=200)
@given(seeds, dtypes, log_uniform(0.5, 40), st.just(0.0) | log_uniform(1e-6, 0.3), st.data())
def test_soft_iht_recursion(seed, dtype, coldness, apart, data):
    """e_{n+1} <= ||I - eta A*A|| e_n + (N - 1) exp(-g_n / tau) ||soft u_n|| on equal top sets S.

    g_n: least of v_(i) - v_(i+1), i <= s, in v = |w soft u_n|. Proof: soft x - x after the step is
    1_S (soft u - u) + (d - 1_S) soft u, and soft u - u = (I - eta A*A)(soft x - x) before it.
    """
    A, x, y = random_problem(seed, IHT_M, IHT_N, KEPT, dtype, noise=0.2)
    rng = np.random.default_rng(seed)
    w = 1 + data.draw(st.floats(0, 0.8)) * rng.uniform(-1, 1, IHT_N)
    A = data.draw(log_uniform(0.1, 10)) * A
    start = rng.integers(2) * rng.standard_normal(IHT_N) + 0 * x
    soft_start = start + apart * rng.standard_normal(IHT_N)
    step_size = data.draw(st.floats(0.1, 1.9)) / norm(A, 2) ** 2
    u = soft_start + step_size * A.conj().T @ (y - A @ soft_start)
    tau = falls(np.abs(w * u))[:KEPT].min() / coldness
    error, carried, lost, rounding = recursion(A, y, w, step_size, tau, start, soft_start)
    assume(len(error) > 0)
    assert np.all(error <= carried + lost + rounding)


def test_the_terms_of_the_recursion_are_near():
    A, w, x = np.eye(IHT_M, IHT_N), np.ones(IHT_N), np.r_[2, 1.5, 1, np.full(IHT_N - 3, 0.5)]
    error, carried, lost, _ = recursion(A, A @ x, w, np.float64(0.5), 0.5 / 20, x, x)
    assert carried[0] == 0
    assert 0.25 < error[0] / lost[0] < 1
    # All the error in a kept entry, hardly any from the gate.
    x[KEPT:] = 0
    soft_x = x + 0.1 * np.eye(IHT_N)[0]
    error, carried, lost, rounding = recursion(A, A @ x, w, np.float64(0.5), 0.005, x, soft_x)
    assert len(error) == STEPS
    assert_close(error, carried)
    assert np.all(lost + rounding < 1e-9 * error)
