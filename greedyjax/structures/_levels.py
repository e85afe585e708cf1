"""Sparsity in levels: a given number of atoms of each level is chosen."""

import dataclasses
from itertools import accumulate, pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Inexact, Int

from greedyjax import _checks
from greedyjax._types import static
from greedyjax.sorting import HardSort, Rows, threshold_of
from greedyjax.structures._structure import Plain


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Levels(Plain):
    """Atoms in levels: a solver chooses at most ``s_l`` atoms of level ``l``.

    The number ``s_l`` is the local sparsity of the level. IHT and HTP keep the ``s_l`` largest
    entries of each level. Subspace pursuit adds ``s_l`` candidates of each level, and CoSaMP adds
    ``2 s_l``. OMP chooses the best atom of all levels that are not full. A soft solver sorts each
    level separately. Soft-OMP multiplies the scores of a level by the room that is left in it,
    ``clip(s_l - sum_j c_j, 0, 1)``, where ``c_j`` says how far atom ``j`` has been chosen. Weights
    compare atoms within each level, and in OMP atoms of all levels.

    The argument ``sparsity`` of a solver has to be the sum of the local sparsities, which is the
    property ``sparsity`` of this structure.

    Attributes:
        ids: integers, shape ``(n,)``, the level of each atom, counted from 0, such as
            ``greedyjax.operators.Wavelet.levels``. Not traced, because it sets shapes.
        sparsities: one int per level, from 0 to the number of its atoms; static. The function
            `local_sparsities` finds them from signals.

    Example:
        >>> import greedyjax as gj, jax.numpy as jnp
        >>> levels = gj.structures.Levels(jnp.array([0, 0, 1, 1, 1]), (1, 2))
        >>> y = jnp.array([4.0, 5.0, 1.0, 3.0, 2.0])
        >>> found = gj.iht(jnp.eye(5), y, sparsity=3, num_steps=1, structure=levels)
        >>> found.x.tolist()
        [0.0, 5.0, 0.0, 3.0, 2.0]

    References:
        Adcock, Hansen, Poon and Roman, "Breaking the coherence barrier: a new theory for compressed
        sensing", Forum of Mathematics, Sigma 5 (2017). Adcock, Brugiapaglia and King-Roskamp, "The
        benefits of acting locally: reconstruction algorithms for sparse in levels signals with
        stable and robust recovery guarantees", IEEE Transactions on Signal Processing 69 (2021).
    """

    ids: Any
    sparsities: tuple[int, ...] = static()
    _order: Any = dataclasses.field(default=None, repr=False)  # The atoms, level by level.
    _place: Any = dataclasses.field(default=None, repr=False)  # Each atom's place in this order.
    _sizes: tuple[int, ...] = static(default=(), repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.sparsities, (tuple, list, np.ndarray, jax.Array)):
            got = type(self.sparsities).__name__
            _checks.fail(TypeError, "sparsities", "a tuple of ints, one for each level", got)
        each = [_checks.static_int("sparsities", s, minimum=0) for s in self.sparsities]
        object.__setattr__(self, "sparsities", tuple(each))

    @property
    def sparsity(self) -> int:
        """The sum of the local sparsities."""
        return sum(self.sparsities)

    def checked(self, num_atoms: int) -> "Levels":
        """The same, with the order of the atoms by levels."""
        if self._order is not None and len(self._order) == num_atoms == len(self.ids):
            return self  # Checked before; ids may be traced by now.
        ids, num = _checks.ids("structure.ids", self.ids, num_atoms, "level")
        name, sizes = "structure.sparsities", np.bincount(ids, minlength=num)
        if len(self.sparsities) != num:
            _checks.fail(ValueError, name, f"{num}, one for each level", f"{len(self.sparsities)}")
        for level, (sparsity, size) in enumerate(zip(self.sparsities, sizes, strict=True)):
            if sparsity > size:
                expected = f"at most the {size} atoms of level {level}"
                _checks.fail(ValueError, name, expected, str(sparsity))
        if self.sparsity == 0:
            _checks.fail(ValueError, name, "at least one atom in all", str(self.sparsities))
        order = np.argsort(ids, kind="stable")
        return dataclasses.replace(
            self,
            ids=jnp.asarray(ids, jnp.int32),
            _order=jnp.asarray(order, jnp.int32),
            _place=jnp.asarray(np.argsort(order), jnp.int32),
            _sizes=tuple(sizes.tolist()),
        )

    def choosing(self, selector: Any) -> "_PerLevel":
        """A selector that applies the given selector within each level."""
        return _PerLevel(selector, self)

    def closed(self, chosen: Bool[Array, " n"] | None) -> Bool[Array, " n"] | None:
        """The chosen atoms, and all atoms of full levels."""
        return None if chosen is None else chosen | (self.room(chosen) == 0)

    def threshold(self, scores: Float[Array, " n"], k: int) -> Float[Array, " levels"]:
        """For each level, the middle between the chosen scores and the others."""
        each = zip(self.parts(scores), self.counts(k), strict=True)
        return jnp.stack([threshold_of(part, max(count, 1)) for part, count in each])

    def room(self, chosen: Array) -> Float[Array, " n"]:
        """For each atom the room that is left in its level, between 0 and 1."""
        used = [jnp.sum(part) for part in self.parts(chosen)]
        left = [jnp.clip(s - u, 0, 1) for s, u in zip(self.sparsities, used, strict=True)]
        return jnp.stack(left).at[self.ids].get(mode="promise_in_bounds")

    def counts(self, k: int) -> tuple[int, ...]:
        """The number of atoms of each level if ``k`` are chosen: ``t s_l`` for ``k = t s``.

        Raises:
            ValueError: ``k`` is neither a multiple of the sparsity ``s`` nor the number of all
                atoms.
        """
        times = -(-k // self.sparsity)
        if k != min(times * self.sparsity, sum(self._sizes)):
            expected = f"levels of {k} atoms in all, as the method chooses {k} at once"
            _checks.fail(ValueError, "structure", expected, f"sparsities {self.sparsities}")
        return tuple(min(times * s, n) for s, n in zip(self.sparsities, self._sizes, strict=True))

    def parts(self, values: Array) -> list[Array]:
        """The values of the atoms, one array per level."""
        return self._cut(values.at[self._order].get(unique_indices=True, mode="promise_in_bounds"))

    def atoms_of_levels(self) -> list[Int[Array, " size"]]:
        """The atoms of each level."""
        return self._cut(self._order)

    def _cut(self, ordered: Array) -> list[Array]:
        return [ordered[start:stop] for start, stop in pairwise(accumulate((0, *self._sizes)))]

    def joined(self, parts: list[Array]) -> Float[Array, " n"]:
        """The inverse of `parts`: one value per atom, from one array per level."""
        ordered = jnp.concatenate(parts)
        return ordered.at[self._place].get(unique_indices=True, mode="promise_in_bounds")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _PerLevel:
    """A selector that is applied within each level."""

    selector: Any
    levels: Levels

    def next(self, scores: Float[Array, " n"], chosen: Array | None) -> Rows:
        """The best atom of all levels that have room."""
        if isinstance(self.selector, HardSort):
            return self.selector.next(scores, self.levels.closed(chosen))
        room = 1 if chosen is None else self.levels.room(chosen)
        return self.selector.next(room * scores, chosen)

    def first(self, scores: Float[Array, " n"], k: int, chosen: Array | None = None) -> Rows:
        """The first rows of each level, one level after the other."""
        n, found = len(scores), []
        closed = None if chosen is None else self.levels.parts(chosen)
        for level, (selector, atoms, part, count) in enumerate(self._each(scores, k)):
            if count:
                met = None if closed is None else closed[level]
                rows = selector.first(part, count, met)
                places = atoms[rows.support]
                found.append(rows.expanded(places, jnp.ones(count, bool), atoms[:, None], n))
        return jax.tree.map(lambda *rows: jnp.concatenate(rows), *found)

    def keep(
        self, scores: Float[Array, " n"], k: int
    ) -> tuple[Float[Array, " n"], Int[Array, " k"]]:
        """The masks of all levels, and the indices of the largest scores of each level."""
        masks, indices = [], []
        for selector, atoms, part, count in self._each(scores, k):
            mask, places = selector.keep(part, count) if count else (jnp.zeros_like(part), None)
            masks.append(mask)
            indices += [] if places is None else [atoms[places]]
        return self.levels.joined(masks), jnp.concatenate(indices)

    def next_loss(
        self, scores: Float[Array, " n"], targets: Float[Array, " n"]
    ) -> Float[Array, ""]:
        """The loss of the selector. Atoms of full levels have been excluded before."""
        return self.selector.next_loss(scores, targets)

    def kept_loss(
        self,
        scores: Float[Array, " n"],
        targets: Float[Array, " n"],
        threshold: Float[Array, " levels"],
        k: int,
    ) -> Float[Array, ""]:
        """The sum of the losses of levels. A level that keeps no atom or all has no choice."""
        wanted, loss = self.levels.parts(targets), jnp.zeros((), scores.dtype)
        for level, (selector, _, part, count) in enumerate(self._each(scores, k)):
            if 0 < count < len(part):
                loss += selector.kept_loss(part, wanted[level], threshold[level], count)
        return loss

    def _each(self, scores: Float[Array, " n"], k: int):
        """For each level the selector, the atoms, their scores, and the number to choose."""
        levels = self.levels
        selector: Any = self.selector  # Only soft selectors have losses.
        parts, weights = levels.parts(scores), getattr(selector, "weights", None)
        selectors: list[Any] = [selector] * len(parts)
        if isinstance(selector, HardSort) and weights is not None:
            selectors = [selector._replace(weights=part) for part in levels.parts(weights)]
        return zip(selectors, levels.atoms_of_levels(), parts, levels.counts(k), strict=True)


def local_sparsities(
    X: Inexact[ArrayLike, "num n *snapshots"], ids: Int[ArrayLike, " n"], *, sparsity: int
) -> tuple[int, ...]:
    """The local sparsities, with a given sum, that keep the most energy of signals.

    They maximise ``sum_i sum_l ||H_{s_l}(x_{i,l})||^2 / ||x_i||^2``, where ``x_{i,l}`` has the
    entries of signal ``i`` in level ``l``, and ``H_s`` keeps the ``s`` largest. This is a sum of
    concave functions of ``s_l``. So the maximum is reached by adding one entry at a time where the
    gain is largest. If gains tie, such as gains of 0, the lowest level comes first.

    Args:
        X: signals, shape ``(num, n)``, or ``(num, n, L)`` with snapshots that share a support.
            If no true signals are known, use the answers of a solver without levels.
        ids: the level of each atom, as in `Levels`.
        sparsity: the sum, an int between 1 and ``n``.

    Returns:
        An int for each level, for ``Levels(ids, sparsities)``.

    Raises:
        TypeError: an argument has a wrong type, or is traced.
        ValueError: an argument has a wrong shape, is out of range, or has NaN or infinity.

    Example:
        >>> import jax.numpy as jnp
        >>> from greedyjax.structures import local_sparsities
        >>> X = jnp.array([[3.0, 0.0, 1.0, 2.0, 0.0], [0.0, 1.0, 0.0, 1.0, 2.0]])
        >>> local_sparsities(X, jnp.array([0, 0, 1, 1, 1]), sparsity=3)
        (1, 2)

    Source: this library's own. Local sparsities are defined in the references of `Levels`.
    """
    if _checks.is_traced(X):
        _checks.fail(TypeError, "X", "signals that are not traced", "a traced value")
    array = _checks.as_array("X", X)
    array = _checks.inexact("X", X, ndim=3 if array.ndim == 3 else 2)
    n = array.shape[1]
    of_atoms, num = _checks.ids("ids", ids, n, "level")
    sparsity = _checks.static_int("sparsity", sparsity, minimum=1, maximum=n)
    # This uses the argument itself, because inside a traced function a JAX array would be traced.
    sizes = np.abs(np.asarray(X, np.result_type(array.dtype, np.float64)))
    largest = sizes.max(axis=tuple(range(1, sizes.ndim)), keepdims=True, initial=0)
    energy = (sizes / np.where(largest > 0, largest, 1)).reshape(*sizes.shape[:2], -1) ** 2
    energy = energy.sum(axis=2)
    energy /= np.maximum(energy.sum(axis=1, keepdims=True), 1)  # 0, or at least 1.
    gains = [np.sort(energy[:, of_atoms == level])[:, ::-1].sum(axis=0) for level in range(num)]
    levels = np.repeat(np.arange(num), [len(gain) for gain in gains])
    best = np.argsort(-np.concatenate(gains), kind="stable")[:sparsity]
    return tuple(np.bincount(levels[best], minlength=num).tolist())
