"""The JSON files that the commands write."""

import json

import jax
import numpy as np

from greedyjax.commands import _files
from greedyjax.policies import PerStep


def test_json(tmp_path):
    """Lists of numbers on one line, six digits, and null for what is no number."""
    content = {
        "curve": [1 / 3, 2e-9 / 3, 0.0, -123456789.0],
        "matrix": [[1.0, float("nan")], [np.float64(2 / 3), float("inf")]],
        "counts": (1, 20000000),
        "rows": [{"x": 1 / 7, "each": [1.0]}, {"x": -float("inf"), "each": []}],
        "names": ["a b", "c"],
        "flags": [True, None],
    }
    _files.write_json(tmp_path / "x.json", content, "reproduce fig9")
    text = (tmp_path / "x.json").read_text()
    for part in (
        '  "curve": [0.333333, 6.66667e-10, 0.0, -123457000.0],\n',
        "    [1.0, null],\n    [0.666667, null]\n",
        '  "counts": [1, 20000000],\n',
        '      "each": [1.0]\n',
        '  "flags": [true, null],\n',
    ):
        assert part in text
    read = json.loads(text)
    assert read["rows"] == [{"x": 0.142857, "each": [1.0]}, {"x": None, "each": []}]
    assert read["names"] == ["a b", "c"]
    assert read["written_by"] == "greedyjax reproduce fig9"
    assert read["versions"]["numpy"] == np.__version__


def test_a_model_holds_weights_or_a_policy(tmp_path):
    rows = np.random.default_rng(0).uniform(1, 2, (3, 5)).astype(np.float32)
    settings = {"method": "omp", "sparsity": 3, "tau": 0.1, "real": False}
    settings |= {"num_layers": 0, "step_size": 0.0}
    A = np.ones((4, 5), np.float32)
    for weights in (rows[0], PerStep(rows)):
        model = _files.Model(A=A, weights=weights, **settings)
        _files.write_model(tmp_path / "model.npz", model)
        found = _files.read_model(tmp_path / "model.npz")
        assert found._replace(A=None, weights=None) == model._replace(A=None, weights=None)
        np.testing.assert_array_equal(found.A, A)
        leaves = jax.tree.leaves(found.weights), jax.tree.leaves(weights)
        np.testing.assert_array_equal(*leaves)
        assert type(found.weights) is type(weights)
