"""Learning to win and to obey: phases of reinforcement without a command, phases of cloning with one (RED).

Maximises the return subject to a bound on the likelihood of people's commanded actions: RL phases see only "no command"
(NA), cloning phases the commanded data D and as many winning NA episodes D_k as it has, by `bc_ratio`. After Xu et al.,
"Grounded reinforcement learning: learning to win the game under human commands" (2022); their code is not public.
Knows no game: episodes are rows of tensors (batch, time, *agent) with a mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from medseg_rl.rlhf.config import REDConfig
from medseg_rl.rlhf.intervals import Proportion, wilson
from medseg_rl.rlhf.ppo import PPOTrainer
from medseg_rl.rlhf.rollout import Policy, Rollout, masked_mean

COMMAND = "command"  # the key of the inputs that holds it


class Examples(NamedTuple):
    """Episodes to clone: `inputs` as `Policy.evaluate` takes them, `mask` (batch, time, *agent)."""

    inputs: Mapping[str, Tensor]
    mask: Tensor

    def rows(self, index: Tensor) -> Examples:
        """Some of the episodes."""
        return Examples({name: tensor[index] for name, tensor in self.inputs.items()}, self.mask[index])

    @property
    def episodes(self) -> int:
        """How many."""
        return int(self.mask.shape[0])


def commanded(examples: Examples, *, na_command: int) -> Examples:
    """The data D, checked: a command stands at every counted step. Raises ValueError where one is NA."""
    steps = (examples.mask > 0).flatten(2).any(2) if examples.mask.ndim > 2 else examples.mask > 0
    missing = int(((examples.inputs[COMMAND] == na_command) & steps).sum())
    if missing:
        raise ValueError(f"{missing} steps of the commanded data have no command; leave them out")
    return examples


def negative_log_likelihood(policy: Policy, examples: Examples) -> Tensor:
    """L = mean of -log pi(a | o, c) over the counted elements, nats."""
    return -masked_mean(policy.evaluate(examples.inputs).logprobs, examples.mask)


class WinQueue:
    """The last winning episodes without a command. Losses never enter."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._kept: Examples | None = None

    @property
    def count(self) -> int:
        """How many there are, at most `capacity`."""
        return 0 if self._kept is None else self._kept.episodes

    def add(self, examples: Examples, won: Tensor) -> None:
        """Keep those with `won` (batch,); the oldest leave."""
        new = examples.rows(torch.nonzero(won > 0)[:, 0])
        if self._kept is not None:
            old = self._kept
            new = Examples(
                {name: torch.cat([old.inputs[name], tensor]) for name, tensor in new.inputs.items()},
                torch.cat([old.mask, new.mask]),
            )
        self._kept = new.rows(torch.arange(max(0, new.episodes - self.capacity), new.episodes))

    def sample(self, count: int, *, generator: torch.Generator) -> Examples:
        """With replacement, so that a queue that is not yet full serves too. Raises ValueError for an empty one."""
        if self._kept is None or not self.count:
            raise ValueError("no game was won yet; there is nothing to sample")
        return self._kept.rows(torch.randint(self.count, (count,), generator=generator))

    def state_dict(self) -> dict[str, Any]:
        """What it holds, for a checkpoint."""
        return {} if self._kept is None else {"inputs": dict(self._kept.inputs), "mask": self._kept.mask}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._kept = Examples(state["inputs"], state["mask"]) if state else None


def mixed(data: Examples, wins: WinQueue, *, count: int, bc_ratio: float, generator: torch.Generator) -> Examples:
    """`count` episodes of D, and `bc_ratio` times as many of D_k; of D alone while nothing was won."""
    from_data = data.rows(torch.randint(data.episodes, (count,), generator=generator))
    extra = round(count * bc_ratio)
    if not wins.count or not extra:
        return from_data
    from_wins = wins.sample(extra, generator=generator)
    return Examples(
        {name: torch.cat([tensor, from_wins.inputs[name]]) for name, tensor in from_data.inputs.items()},
        torch.cat([from_data.mask, from_wins.mask]),
    )


Beside = Callable[[Examples], Tensor]  # a supervised loss that is added to the likelihood's


class CloningTrainer:
    """Behaviour cloning with an optimiser of its own. `beside`: another loss of the same examples, added to it."""

    def __init__(
        self, policy: Policy, *, learning_rate: float = 3e-4, weight_decay: float = 0.0, beside: Beside | None = None
    ) -> None:
        self.policy, self.beside = policy, beside
        self.optimiser = torch.optim.Adam(policy.parameters(), lr=learning_rate, eps=1e-5, weight_decay=weight_decay)

    def step(self, examples: Examples) -> float:
        """One update; the loss before it."""
        loss = negative_log_likelihood(self.policy, examples)
        self.descend(loss if self.beside is None else loss + self.beside(examples))
        return float(loss.detach())

    def descend(self, loss: Tensor) -> None:
        """One update by any loss of the policy."""
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()


class GroundedTrainer:
    """RED: `cycle` is an RL phase, then a cloning phase. With `joint_beta` set it is Joint: one loss, no phases.

    `play()`: episodes without a command under the policy as it is, and which were won. `bound`: what the validation
    NLL may not exceed, (1 + nll_tolerance) times that of pure cloning; an RL phase stops as soon as it does.
    """

    def __init__(
        self,
        ppo: PPOTrainer,
        config: REDConfig,
        data: Examples,
        validation: Examples,
        *,
        batch: int = 32,
        learning_rate: float = 3e-4,
        seed: int = 0,
        beside: Beside | None = None,
    ) -> None:
        self.ppo, self.config, self.batch = ppo, config, batch
        self.data = commanded(data, na_command=config.na_command)
        self.validation = commanded(validation, na_command=config.na_command)
        self.cloning = CloningTrainer(ppo.policy, learning_rate=learning_rate, beside=beside)
        self.wins = WinQueue(config.win_queue_size)
        self.generator = torch.Generator().manual_seed(seed)
        self.bound = (1 + config.nll_tolerance) * self.validation_nll()

    def validation_nll(self) -> float:
        """Of the commanded validation data, nats."""
        with torch.no_grad():
            return float(negative_log_likelihood(self.ppo.policy, self.validation))

    def cycle(self, play: Callable[[], tuple[Rollout, Tensor]]) -> dict[str, float]:
        """One RL phase and one cloning phase; metrics of both. `red/rl_updates`: how many the bound allowed."""
        if self.config.joint_beta is not None:
            raise ValueError("joint_beta is set: Joint has no phases; call joint_update")
        metrics: dict[str, float] = {}
        done, nll = 0, self.validation_nll()
        while done < self.config.rl_updates and (nll <= self.bound or done == 0):
            rollout, won = play()
            self._check_na(rollout)
            self.wins.add(Examples(rollout.inputs, rollout.mask), won)
            metrics = self.ppo.step(rollout)
            done, nll = done + 1, self.validation_nll()
        losses = [self.cloning.step(self._batch()) for _ in range(self.config.bc_updates)]
        return metrics | {
            "red/rl_updates": done,
            "red/bc_loss": sum(losses) / max(1, len(losses)),
            "red/nll_after_rl": nll,
            "red/bc_nll": self.validation_nll(),
            "red/num_wins": self.wins.count,
        }

    def joint_update(self, play: Callable[[], tuple[Rollout, Tensor]]) -> dict[str, float]:
        """Joint: the Lagrangian J_NA - beta L as one loss; beta is the `ptx_coef` of the PPO config."""
        rollout, _ = play()
        self._check_na(rollout)
        metrics = self.ppo.step(rollout, pretraining=self._pretraining)
        return metrics | {"red/bc_nll": self.validation_nll()}

    def state_dict(self) -> dict[str, Any]:
        """All that a stopped run needs to go on as if it had not stopped."""
        return {
            "ppo": self.ppo.state_dict(),
            "cloning": self.cloning.optimiser.state_dict(),
            "wins": self.wins.state_dict(),
            "generator": self.generator.get_state(),
            "bound": self.bound,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.ppo.load_state_dict(state["ppo"])
        self.cloning.optimiser.load_state_dict(state["cloning"])
        self.wins.load_state_dict(state["wins"])
        self.generator.set_state(state["generator"])
        self.bound = state["bound"]

    def _batch(self) -> Examples:
        return mixed(self.data, self.wins, count=self.batch, bc_ratio=self.config.bc_ratio, generator=self.generator)

    def _pretraining(self, count: int) -> Sequence[tuple[Tensor, float]]:
        index = torch.randint(self.data.episodes, (count,), generator=self.generator)
        examples, beside = self.data.rows(index), self.cloning.beside
        loss = negative_log_likelihood(self.ppo.policy, examples)
        return [(loss if beside is None else loss + beside(examples), 1.0)]

    def _check_na(self, rollout: Rollout) -> None:
        if bool((rollout.inputs[COMMAND] != self.config.na_command).any()):
            raise ValueError("an RL phase sees no command; play it with NA alone")


def warm_up_values(
    policy: torch.nn.Module, head: Sequence[torch.nn.Parameter], rollouts: Sequence[Rollout], returns: Sequence[Tensor],
    *, updates: int, learning_rate: float = 1e-3,
) -> list[float]:  # fmt: skip
    """Fit the value head alone, the policy frozen: a fresh critic would pull a cloned policy apart. Losses in order.

    `policy` is a `Policy` too; `returns`: what its values should be, each in the shape of its rollout's mask.
    """
    optimiser = torch.optim.Adam(head, lr=learning_rate, eps=1e-5)
    losses = []
    for number in range(updates):
        rollout, wanted = rollouts[number % len(rollouts)], returns[number % len(rollouts)]
        values = policy.evaluate(rollout.inputs).values  # type: ignore[operator]
        loss = masked_mean((values - wanted) ** 2, rollout.mask)
        gradients = torch.autograd.grad(loss, list(head))
        for parameter, gradient in zip(head, gradients, strict=True):
            parameter.grad = gradient
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


class Obedience(NamedTuple):
    """Win rates by commander with Wilson's interval; a policy that obeys wins under "Oracle", not "Adversarial"."""

    wins: Mapping[str, Proportion]

    @property
    def grounded(self) -> float:
        """Oracle minus Adversarial win rate: 1 obeys and is able, 0 is deaf or unable."""
        return self.wins["Oracle"].rate - self.wins["Adversarial"].rate


def obedience(won: Mapping[str, Tensor]) -> Obedience:
    """From the games won under each commander, (games,) bool each. A draw is no win."""
    return Obedience({name: wilson(float(found.sum()), found.numel()) for name, found in won.items()})


class FalsePremise(NamedTuple):
    """Commands that ask for what is not there: on how many nothing was changed, and how much on average."""

    unchanged: Proportion
    changed_share: float


def false_premise(before: Sequence[Tensor], after: Sequence[Tensor]) -> FalsePremise:
    """Masks (or any states) before and after each such command; a good policy leaves every one as it was."""
    changed = [float((a != b).double().mean()) for a, b in zip(before, after, strict=True)]
    unchanged = sum(share == 0 for share in changed)
    return FalsePremise(wilson(unchanged, len(changed)), sum(changed) / len(changed) if changed else math.nan)
