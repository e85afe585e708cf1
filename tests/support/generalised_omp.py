"""Generalised OMP, as somebody outside of the package would write it."""

import dataclasses

import jax

from greedyjax.pursuit import LeastSquares, Method, static


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GeneralisedOMP(Method):
    """OMP that adds several atoms a step: those of the largest correlations."""

    sparsity: int = static()  # What sets shapes is static.
    at_a_time: int = static(default=2)
    fit: LeastSquares = LeastSquares()

    @property
    def num_steps(self):
        return -(-self.sparsity // self.at_a_time)

    def init(self, problem, turn):
        return self.fit.start(problem, turn, self.num_steps * self.at_a_time)

    def step(self, problem, state, turn):
        fit = self.fit
        active = fit.goes_on(problem, state) if turn.is_hard else True
        correlations, known = fit.correlations(problem, state), fit.known(problem, state)
        rows, choice = turn.first(correlations, self.at_a_time, known)
        for i in range(self.at_a_time):
            wanted = turn.step * self.at_a_time + i < self.sparsity  # The last step may add fewer.
            state = fit.add(problem, state, rows.row(i), active & wanted)
        return state, (choice,)

    def answer(self, problem, state):
        answer = self.fit.answer(problem, state)
        return answer._replace(support=answer.support[: self.sparsity])
