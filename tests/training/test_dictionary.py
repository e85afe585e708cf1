"""Dictionaries learned from signals: what is found, and what every call guarantees."""

import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import greedyjax as gj
from dictionary_oracles import relative_error
from greedyjax.pursuit import OMP
from greedyjax.training import KSVD, MOD, OnlineGradient, _dictionary_steps, learn_dictionary
from greedyjax.training._dictionary_coding import Batch
from helpers import assert_close, slow_but

M, N, K, NUM = 16, 20, 2, 1500
KEY = jax.random.key(0)
UPDATES = {
    "K-SVD": KSVD(),
    "MOD": MOD(),
    "MOD with decay": MOD(0.5),
    "gradient": OnlineGradient(optax.adam(3e-2)),
}
EACH = pytest.mark.parametrize("update", UPDATES.values(), ids=UPDATES)


def mostly_slow(*quick):
    """Each update, of which the `quick` ones differ most where one takes long to compile."""
    some = [UPDATES[name] for name in quick]
    return pytest.mark.parametrize("update", slow_but(some, UPDATES.values()), ids=UPDATES)


def planted(seed=0, num=NUM, dtype=np.float64, noise=0.02):
    """A dictionary, and signals of two atoms each."""
    rng = np.random.default_rng(seed)

    def normal(*shape):
        real = rng.standard_normal(shape)
        return real + 1j * rng.standard_normal(shape) if np.dtype(dtype).kind == "c" else real

    A = normal(M, N)
    A /= np.linalg.norm(A, axis=0)
    X = np.zeros((num, N), normal(1).dtype)
    supports = np.argsort(rng.random((num, N)), axis=1)[:, :K]
    np.put_along_axis(X, supports, normal(num, K), axis=1)
    return A, (X @ A.T + noise * normal(num, M)).astype(dtype)


def learn(Y, update=KSVD(), **changes):  # noqa: B008
    settings = {"key": KEY, "num_epochs": 2, "batch_size": 500, "progress": False, **changes}
    return learn_dictionary(Y, N, K, update=update, **settings)


@pytest.mark.parametrize("dtype", slow_but([np.float64], [np.float64, np.complex128]))
@EACH
def test_a_planted_dictionary_is_found(update, dtype):
    A, Y = planted(dtype=dtype)
    batch_size = 100 if isinstance(update, OnlineGradient) else 500
    found = learn(Y, update, num_epochs=40, batch_size=batch_size)
    inner = np.abs(A.conj().T @ np.asarray(found.A))
    assert found.A.dtype == dtype
    assert np.mean(inner.max(axis=1) >= 0.99) >= 0.95
    assert_close(np.linalg.norm(found.A, axis=0), np.ones(N))


@pytest.mark.slow
@mostly_slow("MOD")
def test_history_has_the_errors(update):
    Y, val = planted()[1], planted(1, num=50)[1]
    found = learn(Y, update, val=val)
    history = found.history
    assert {name: each.shape for name, each in history.items()} == dict.fromkeys(history, (3,))
    X = np.asarray(gj.encode(OMP(K), found.A, val).dense(N)).T
    assert_close(history["val_error"][-1], relative_error(np.asarray(found.A), val.T, X))
    assert np.isnan(history["error"][0])
    assert history["error"][2] < history["error"][1] < 1
    # Where one batch has all signals, its error is that of the start.
    alone = learn(Y, update, initial=found.A, batch_size=NUM, num_epochs=1).history["error"][1]
    X = np.asarray(gj.encode(OMP(K), found.A, Y).dense(N)).T
    assert_close(alone, relative_error(np.asarray(found.A), Y.T, X), dtype=np.float64)


def test_the_later_one_of_two_equal_atoms_becomes_the_worst_coded_signal():
    start, Y = planted()
    start[:, 5] = start[:, 4]
    # 1,500 signals use 20 atoms 150 times on average, which is when atoms are looked at.
    found = learn(Y, OnlineGradient(optax.sgd(0.0)), initial=start, num_epochs=1, batch_size=NUM)
    X = np.asarray(gj.encode(OMP(K), start, Y).dense(N)).T
    worst = Y[np.argmax(np.linalg.norm(Y.T - start @ X, axis=0))]
    assert found.history["replaced"][1] == 1
    assert_close(found.A[:, 5], worst / np.linalg.norm(worst))
    others = np.arange(N) != 5
    assert_close(found.A[:, others], start[:, others])


def test_an_atom_that_nobody_uses_becomes_the_worst_coded_signal():
    start, Y = planted(noise=0.0)
    Y = Y @ np.diag(np.arange(M) > 0)  # Nothing along the first axis,
    start[0] = 0
    start[:, 7] = np.eye(M)[0]  # but an atom.
    found = learn(Y, OnlineGradient(optax.sgd(0.0)), initial=start, num_epochs=1, batch_size=NUM)
    start /= np.linalg.norm(start, axis=0)
    X = np.asarray(gj.encode(OMP(K), start, Y).dense(N)).T
    worst = Y[np.argmax(np.linalg.norm(Y.T - start @ X, axis=0))]
    assert found.history["replaced"][1] == 1
    assert_close(found.A[:, 7], worst / np.linalg.norm(worst))


@EACH
def test_the_same_key_gives_the_same_dictionary(update):
    Y = planted()[1]
    first = learn(Y, update)
    assert np.array_equal(first.A, learn(Y, update).A)
    assert not np.array_equal(first.A, learn(Y, update, key=jax.random.key(1)).A)


def test_files_and_arrays_of_jax_give_what_arrays_in_memory_do(tmp_path):
    Y = planted()[1]
    np.save(tmp_path / "Y.npy", Y)
    expected = learn(Y).A
    assert np.array_equal(learn(np.load(tmp_path / "Y.npy", mmap_mode="r")).A, expected)
    assert np.array_equal(learn(jnp.asarray(Y)).A, expected)


@pytest.mark.slow
@pytest.mark.parametrize("update", [pytest.param(KSVD(), marks=pytest.mark.slow), MOD(0.5)])
def test_several_dictionaries_are_those_of_several_calls(update):
    Y = np.stack([planted(seed)[1] for seed in range(2)])
    found = learn(Y, update, val=Y[:, :100])
    for i in range(2):
        alone = learn(Y[i], update, val=Y[i, :100])
        assert_close(found.A[i], alone.A)
        assert_close(found.history["val_error"][:, i], alone.history["val_error"])
    assert found.history["replaced"].shape == (3, 2)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_comes_back(dtype):
    Y = jnp.asarray(planted()[1], dtype)
    found = learn(Y)
    assert found.A.dtype == dtype
    single = learn(Y.astype(jnp.float32)).A
    assert np.array_equal(found.A, single.astype(dtype))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
@EACH
def test_units_do_not_matter(update, scale):
    Y = planted()[1].astype(np.float32)
    power = np.float32(2.0 ** np.round(np.log2(scale)))
    assert_close(learn(Y * power, update).A, learn(Y, update).A)


@EACH
def test_degenerate_signals_give_finite_dictionaries(update):
    for Y in (np.zeros((NUM, M)), np.ones((NUM, M)), np.eye(M)[np.arange(NUM) % 3]):
        found = learn(Y, update)
        assert np.all(np.isfinite(found.A))
        assert np.all(np.isfinite(found.history["error"][1:]))
        assert_close(np.linalg.norm(found.A, axis=0), np.ones(N))


@pytest.mark.parametrize("observed", [None, jax.ShapeDtypeStruct((20_000, 8), bool)])
@mostly_slow("MOD")
def test_no_array_has_a_number_for_each_signal_and_atom(update, observed):
    num, m, n = 20_000, 8, 1024
    struct = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
    state = jax.eval_shape(_dictionary_steps.start, update, struct(m, n))
    args = update, state, Batch(struct(num, m), observed), struct()
    compiled = _dictionary_steps.step.lower(*args, sparsity=2).compile()
    memory = compiled.memory_analysis().temp_size_in_bytes
    # Beside batches and their codes there are a few matrices of (n, n), whatever num is.
    assert memory < num * n * 4 / 2


@pytest.mark.slow
@pytest.mark.parametrize("dtype", slow_but([np.complex64], [np.float32, np.complex64]))
@mostly_slow("gradient")
def test_no_dtype_is_promoted_in_silence(update, dtype):
    Y = planted(dtype=dtype)[1]
    with jax.numpy_dtype_promotion("strict"):
        found = learn(Y, update, val=Y[:50], num_epochs=1)
    assert found.A.dtype == dtype


def test_callback_sees_each_epoch():
    seen = []
    found = learn(planted()[1], callback=lambda epoch, metrics: seen.append((epoch, metrics)))
    assert [epoch for epoch, _ in seen] == [0, 1, 2]
    assert [metrics["error"] for _, metrics in seen[1:]] == found.history["error"][1:].tolist()


def test_an_interrupt_ends_after_the_epoch_under_way():
    def press(epoch, metrics):
        if epoch == 1:
            signal.raise_signal(signal.SIGINT)

    found = learn(planted()[1], num_epochs=50, callback=press)
    assert found.history["error"].shape == (2,)
    assert np.array_equal(found.A, learn(planted()[1], num_epochs=1).A)


Y = planted(num=30)[1]
BAD = {
    "Y: integers": ({"Y": np.ones((30, M), int)}, TypeError, "Y: expected floating-point"),
    "Y: one signal": ({"Y": Y[0]}, ValueError, r"Y: expected shape \(num, m\), or"),
    "Y: NaN": ({"Y": Y * np.nan}, ValueError, "Y: expected finite numbers, got NaN"),
    "Y: few": ({"Y": Y[:3]}, ValueError, "Y: expected at least num_atoms=20 signals .*initial=.*3"),
    "num_atoms": ({"num_atoms": 0}, ValueError, "num_atoms: expected an int >= 1, got 0"),
    "sparsity": ({"sparsity": 17}, ValueError, "sparsity: expected an int between 1 and 16, the"),
    "key": ({"key": 3}, TypeError, "key: expected a key"),
    "update: a class": ({"update": KSVD}, TypeError, "update: .*the class KSVD; make one: KSVD"),
    "update: a word": ({"update": "mod"}, TypeError, r"update: expected .*KSVD\(\), got str"),
    "decay": ({"update": MOD(1.5)}, ValueError, "decay: expected a number between 0 and 1, got 1"),
    "num_epochs": ({"num_epochs": -1}, ValueError, "num_epochs: expected an int >= 0, got -1"),
    "batch_size": ({"batch_size": 0}, ValueError, "batch_size: expected an int >= 1, got 0"),
    "initial: shape": ({"initial": np.ones((N, M))}, ValueError, r"initial: expected shape \(16"),
    "initial: 0": ({"initial": np.zeros((M, N))}, ValueError, "initial: expected columns that"),
    "val": ({"val": Y[:, 1:]}, ValueError, r"val: expected shape \(num, 16\), as Y has"),
    "callback": ({"callback": 3}, TypeError, "callback: expected a function"),
}  # fmt: skip


@pytest.mark.wrong_types
@pytest.mark.parametrize("name", BAD)
def test_bad_calls_say_what_is_wrong(name):
    changes, error, message = BAD[name]
    arguments = {"Y": Y, "num_atoms": N, "sparsity": K, "key": KEY, "batch_size": 3, **changes}
    with pytest.raises(error, match=message):
        learn_dictionary(**arguments)


@pytest.mark.wrong_types
def test_a_function_that_makes_an_optimizer_is_none():
    with pytest.raises(TypeError, match="optimizer: expected an optax optimizer, such as"):
        learn(Y, OnlineGradient(optax.adam), batch_size=30)


@pytest.mark.wrong_types
def test_it_cannot_be_traced():
    with pytest.raises(TypeError, match="Y: expected an array of known values.*traced"):
        jax.jit(lambda Y: learn(Y).A)(Y)


def test_a_file_with_nan_is_refused_when_it_is_read(tmp_path):
    bad = planted()[1].copy()
    bad[700, 2] = np.nan
    np.save(tmp_path / "Y.npy", bad)
    with pytest.raises(ValueError, match="Y: expected finite numbers, got NaN"):
        learn(np.load(tmp_path / "Y.npy", mmap_mode="r"))
