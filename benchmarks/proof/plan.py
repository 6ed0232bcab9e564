"""What is to be run, the most telling first, and which rows answer which question. Runs nothing and reads no file.

Every run has the same number of updates, and so the same number of training samples. One change of the settings an
arm: what an ablation changes is what its name says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from medseg_rl.dataset import WHOLE, Target
from medseg_rl.evaluation.cases import StartKind

SEEDS = (0, 1, 2)
Trainer = Literal["agents", "general"]


@dataclass(frozen=True)
class Place:
    """Where an arm is evaluated: the validation split of a set, a target, and the starts."""

    set: str
    target: Target = WHOLE
    starts: tuple[StartKind, ...] = ("A", "B")


@dataclass(frozen=True)
class Arm:
    """A way of training. `name` stands in tables; `says` what it is.

    `trainer` "agents": `medseg-rl train` on the first of `places`; "general": `medseg-rl train-general` on `sets`.
    `changes`: settings as `--set` takes them, over those of `preset`. `steps`: refinement steps a click when evaluated.
    """

    name: str
    says: str
    changes: tuple[str, ...] = ()
    preset: str = "small"
    trainer: Trainer = "agents"
    sets: tuple[str, ...] = ()
    places: tuple[Place, ...] = (Place("hippocampus"),)
    steps: int = 3

    @property
    def task(self) -> str:
        """What the folder of its runs and of its automatic starts is called."""
        if self.trainer == "general":
            return "general"
        first = self.places[0]
        return f"{first.set}_{WHOLE if first.target == WHOLE else '_'.join(map(str, first.target))}"

    @property
    def tables(self) -> int:
        """How many result files an evaluated run has."""
        return sum(len(place.starts) for place in self.places)


@dataclass(frozen=True)
class Job:
    """One run: an arm with one training seed."""

    arm: Arm
    seed: int

    @property
    def name(self) -> str:
        """Its folder below those of all runs, and below those of all rows."""
        return f"{self.arm.task}/{self.arm.name}/seed{self.seed}"


@dataclass(frozen=True)
class Question:
    """`arms` whose rows answer it, in one table; the others are tested against `reference`."""

    name: str
    asks: str
    reference: str
    arms: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """`stages` in the order in which they are run; in a stage all arms have a seed before any has the next."""

    stages: tuple[tuple[Arm, ...], ...]
    questions: tuple[Question, ...]
    seeds: tuple[int, ...] = SEEDS

    @property
    def arms(self) -> tuple[Arm, ...]:
        """All arms in the order in which they are run."""
        return tuple(arm for stage in self.stages for arm in stage)

    def jobs(self) -> Iterator[Job]:
        """All runs, the most telling first."""
        for stage in self.stages:
            for seed in self.seeds:
                for arm in stage:
                    yield Job(arm, seed)

    def asked_by(self, arm: Arm) -> tuple[Question, ...]:
        """The questions that an arm's rows answer."""
        return tuple(question for question in self.questions if arm.name in question.arms)


def _general(name: str, says: str, *changes: str) -> Arm:
    sarcoma = ("sts_mr_t1", "sts_ct", "sts_pet")
    parts = [Place("hippocampus", target, ("B",)) for target in ((1,), (2,))]
    unseen = [Place(name, WHOLE, ("B",)) for name in (*sarcoma, "left_atrium")]
    return Arm(name, says, changes, trainer="general", sets=("hippocampus", *sarcoma), places=(*parts, *unseen))


_ONE_STEP = "training.steps_choices=[1]"
_SMALL = ("training.network=small", _ONE_STEP)

PLAN = Plan(
    stages=(
        (
            Arm("agent", "voxel agents, ours: all-action gradient, discount .95, three steps a click"),
            Arm(
                "twin_a",
                "supervised twin A: same network, starts, clicks and updates, no reward",
                ("training.policy=twin_a",),
            ),
        ),
        (Arm("agent_sampled", "gradient of sampled actions alone", ("training.learner.mode=sampled",)),),
        (Arm("twin_b", "supervised twin B: bounded steps", ("training.policy=twin_b",)),),
        (Arm("rnet_style", "in the style of R-Net (DeepIGeoS): binary mask, one refinement", preset="rnet_style"),),
        (Arm("discount_0", "discount 0: each step is greedy", ("training.learner.discount=0.0",)),),
        (Arm("discount_1", "discount 1: only the end counts", ("training.learner.discount=1.0",)),),
        (
            Arm("small_soft", "published kind of network, one step a click, soft state", _SMALL, steps=1),
            Arm("small_binary", "the same, shown the mask alone", (*_SMALL, "training.binary_state=true"), steps=1),
        ),
        (Arm("hints_edt", "hints by plain distance", ("training.hints.kind=edt_exp",)),),
        (Arm("hints_ball", "hints as balls of 3 mm", ("training.hints.kind=ball",)),),
        (Arm("hints_gaussian", "Gaussian hints of 2 mm", ("training.hints.kind=gaussian",)),),
        (Arm("steps_1", "one step a click", (_ONE_STEP,), steps=1),),
        (Arm("steps_2", "two steps a click", ("training.steps_choices=[2]",), steps=2),),
        (
            _general("general", "one policy for any target: parts, sarcomas, an atrium it has not seen"),
            _general("general_twin_a", "its supervised twin A", "training.policy=twin_a"),
        ),
        (Arm("itermrl", "the published setting on the faithful network", preset="itermrl"),),
        (
            Arm(
                "reward_alone",
                "no supervised beginning, no belief loss",
                ("training.learner.belief_first=0.0", "training.learner.belief_coef=0.0"),
            ),
        ),
        (Arm("reward_absolute", "absolute reward", ("training.learner.reward=absolute",)),),
        (Arm("six_actions", "the published six adjustments", ("training.adjustments=[-40, -20, -10, 10, 20, 40]",)),),
        (Arm("credit_fixed", "returns shared with neighbours, fixed", ("training.learner.credit_rho=0.5",)),),
        (Arm("credit_learned", "returns shared with neighbours, learned", ("training.learner.credit_voxels=5",)),),
    ),
    questions=(
        Question(
            "Methods",
            "Does reward teach what supervision does not? All actions or sampled ones?",
            "agent",
            ("agent", "agent_sampled", "twin_a", "twin_b", "rnet_style", "itermrl"),
        ),
        Question("Discount", "Is foresight worth anything?", "agent", ("agent", "discount_0", "discount_1")),
        Question("Previous state", "Soft or binary?", "small_soft", ("small_soft", "small_binary")),
        Question(
            "Hint map", "Which encoding of clicks?", "agent", ("agent", "hints_edt", "hints_ball", "hints_gaussian")
        ),
        Question("Steps a click", "Three, two or one?", "agent", ("agent", "steps_2", "steps_1")),
        Question("Any target", "Parts, sarcomas, an unseen atrium", "general", ("general", "general_twin_a")),
        Question(
            "Further",
            "Reward alone, absolute reward, six adjustments, shared returns",
            "agent",
            ("agent", "reward_alone", "reward_absolute", "six_actions", "credit_fixed", "credit_learned"),
        ),
    ),
)
