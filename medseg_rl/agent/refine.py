"""The voxel agents behind the `Refiner` seam: what the session runs. Deterministic; no reference in reach.

Greedy, or drawn by the seed of the request, the same for the same seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from medseg_rl.agent.draws import smooth_draw
from medseg_rl.agent.learner import Precision, run_network
from medseg_rl.agent.networks import ActorCritic, Heads
from medseg_rl.agent.policy import AdjustmentPolicy, Policy, TwinPolicy
from medseg_rl.environment.click_relations import FARTHEST_MM
from medseg_rl.environment.observation import Relations, build_observation, hint_channels
from medseg_rl.errors import Cancelled
from medseg_rl.hints.clicks import Click, ClickLabel, newest_per_voxel
from medseg_rl.hints.maps import HintConfig, HintMaps
from medseg_rl.preprocessing import relative_spacing
from medseg_rl.refiner import HIGHEST, LOWEST, MASK_THRESHOLD, Percent, RefinementRequest, never_cancelled, no_preview
from medseg_rl.volume import Box, Index

Slices = tuple[slice, slice, slice]
GLANCES = 8  # that are remembered: a search for the size of an object takes fewer, a stopped one leaves its own behind
Reader = Callable[[Percent], Heads]  # what the network says of a state of the region of one request


class VoxelAgentRefiner:
    """Runs `steps` greedy refinement steps of the agents on a request.

    `view_voxels`: the agents measure in voxels, not in mm (`relative_spacing`), and want to be shown so many on a side.
    """

    def __init__(
        self,
        network: ActorCritic,
        policy: Policy,
        *,
        hints: HintConfig,
        name: str = "agent",
        precision: Precision = "fp32",
        view_voxels: int | None = None,
        identity: dict[str, Any] | None = None,
    ) -> None:
        self.name = name
        self._network = network.eval()
        self._policy, self._hint_config, self._precision = policy, hints, precision
        self.view_voxels, self._identity = view_voxels, identity or {}
        self._hints: HintMaps | None = None
        self._glances: list[tuple[RefinementRequest, Reader]] = []
        self._image, self._spacing = np.zeros((0, 0, 0), np.float32), (0.0, 0.0, 0.0)

    def describe(self) -> dict[str, Any]:
        """Kind, precision, how many commands it knows, and what the bundle says of the weights."""
        embedding = self._network.command
        commands = {} if embedding is None else {"commands": embedding.num_embeddings}
        return {"kind": type(self._policy).__name__, "precision": self._precision, **commands, **self._identity}

    @property
    def network(self) -> ActorCritic:
        """What it runs, in eval mode: for training on from its weights, on a copy."""
        return self._network

    @property
    def reach_mm(self) -> float | None:
        """Where hearing has faded, agents and twin A keep what is; see `medseg_rl.refiner.reach_of`."""
        fades = self._network.belief and float(self._network.locality) > 0
        return FARTHEST_MM if fades and self._can_rest and not self.view_voxels else None

    @property
    def _can_rest(self) -> bool:
        """Whether the policy leaves a voxel as it is where the belief is the live probability."""
        policy = self._policy
        return (
            0 in policy.adjustments
            if isinstance(policy, AdjustmentPolicy)
            else isinstance(policy, TwinPolicy) and not policy.bounded
        )

    @property
    def device(self) -> str:
        """Where it computes."""
        return str(self._device)

    def refine(
        self,
        request: RefinementRequest,
        *,
        cancel: Callable[[], bool] = never_cancelled,
        preview: Callable[[Percent], None] = no_preview,
    ) -> Percent:
        """New state of the region; see `medseg_rl.refiner.Refiner`."""
        request = self._measured(request)
        part = self._heard(request)
        if request.glance and self._network.belief:
            heads_of = self._reader(request, part)
            self._glances = [*self._glances[1 - GLANCES :], (request, heads_of)]
            return self._believed(request, part, heads_of)
        heads_of = self._glanced(request) or self._reader(request, part)
        again = self.view_voxels and not request.n_new_clicks  # as candidates ask for the same several times
        self._glances = [(request, heads_of)] if again else []
        decided, clicked = request.percent, newest_per_voxel(request.clicks)
        draw = None
        if request.seed is not None:
            drawn = smooth_draw(decided.shape, request.spacing, request.seed)
            draw = torch.from_numpy(drawn[None]).to(self._device)
        percent = _enforced(decided, clicked)
        for _ in range(request.steps):
            if cancel():
                raise Cancelled("refinement cancelled; the mask is as it was before this turn")
            with torch.inference_mode():
                heads = heads_of(percent)
                state = torch.from_numpy(np.ascontiguousarray(percent[part])[None]).to(self._device)
                policy = self._policy
                decision = policy.greedy(heads, state) if draw is None else policy.drawn(heads, state, draw)
            decided = percent.copy()
            decided[part] = decision.percent[0].cpu().numpy()
            if request.held_voxels is not None:
                decided = np.where(request.held_voxels, request.percent, decided)
            percent = _enforced(decided, clicked)
            preview(percent)
        return percent if request.hard_clicks else decided.copy()

    def _glanced(self, request: RefinementRequest) -> Reader | None:
        """What a glance at the same has read since the last steps: its features serve them too."""
        return next((reader for glance, reader in self._glances if _looks_alike(glance, request)), None)

    def _believed(self, request: RefinementRequest, part: Slices, heads_of: Reader) -> Percent:
        """What the agents believe before they act: the steps of an interaction move there."""
        believed = _enforced(request.percent, newest_per_voxel(request.clicks))
        with torch.inference_mode():
            state = torch.from_numpy(np.ascontiguousarray(believed[part])[None]).to(self._device)
            decision = TwinPolicy(bounded=False).greedy(heads_of(believed), state)
        believed[part] = decision.percent[0].cpu().numpy()
        if request.held_voxels is not None:
            np.copyto(believed, request.percent, where=request.held_voxels)
        return _enforced(believed, newest_per_voxel(request.clicks)) if request.hard_clicks else believed

    def expected_gain(self, request: RefinementRequest) -> npt.NDArray[np.float32]:
        """What the critic expects each voxel still to gain; see `medseg_rl.refiner.Foresight`."""
        request = self._measured(request)
        heads_of = self._reader(request, Box.whole(_shape(request)).slices)
        with torch.inference_mode():
            heads = heads_of(_enforced(request.percent, newest_per_voxel(request.clicks)))
            value: npt.NDArray[np.float32] = heads.value[0].float().cpu().numpy()
        return value

    def _heard(self, request: RefinementRequest) -> Slices:
        """The part of the region in which a decision can change anything.

        All of it where that part would hold object alone or background alone: the agents would take it for an empty
        mask, on which they hear a click everywhere. All of it also for draws, which move voxels that rest otherwise.
        """
        fresh = request.clicks[len(request.clicks) - request.n_new_clicks :]
        whole = Box.whole(_shape(request))
        fades = self._network.belief and float(self._network.locality) > 0 and self._can_rest
        if not fades or not fresh or request.seed is not None:
            return whole.slices
        near = Box.around_indices([click.index for click in fresh]).grown_mm(FARTHEST_MM, request.spacing, whole.stop)
        before = request.percent if request.started_from is None else request.started_from
        inside = before[near.slices] > MASK_THRESHOLD
        return near.slices if inside.any() and not inside.all() else whole.slices

    def _measured(self, request: RefinementRequest) -> RefinementRequest:
        """With the spacing that the agents were trained to see."""
        return replace(request, spacing=relative_spacing(request.spacing)) if self.view_voxels else request

    @property
    def _device(self) -> torch.device:
        return next(self._network.parameters()).device

    def _reader(self, request: RefinementRequest, part: Slices) -> Reader:
        """What the network says of a part of a state of the region of the request, under its clicks."""
        fresh = newest_per_voxel(request.clicks[len(request.clicks) - request.n_new_clicks :])
        before = request.percent if request.started_from is None else request.started_from
        start = before if request.before_clicks is None else request.before_clicks
        all_hints = self._all_hints(request)
        clicks = newest_per_voxel(request.clicks)
        relations = Relations(request.image, before, start, all_hints, clicks, fresh, request.spacing)
        device, network = self._device, self._network
        hints = hint_channels(all_hints, relations, network.channels)
        command = None if network.command is None else torch.tensor([request.command], device=device)
        features: torch.Tensor | None = None  # of an earlier step, where they may serve again

        def read(percent: Percent) -> Heads:
            nonlocal features
            observation = build_observation(network.channels, image=request.image, percent=percent, hints=hints)
            first = features is None
            seen = observation if first else observation[(slice(None), *part)]
            features, heads = run_network(
                network,
                torch.from_numpy(np.ascontiguousarray(seen)[None]).to(device),
                precision=self._precision,
                spacing=request.spacing,
                command=command,
                features=features,
            )
            if not first:
                return heads
            features = None if features is None else features[(..., *part)]
            return Heads(*(None if head is None else head[(..., *part)] for head in heads))  # type: ignore[arg-type]

        return read

    def _all_hints(self, request: RefinementRequest) -> HintMaps:
        """Maps of all clicks; where the region is the same as last time only new clicks are computed."""
        clicks = newest_per_voxel(request.clicks)
        same = self._spacing == request.spacing and np.array_equal(self._image, request.image)
        if self._hints is None or not same:
            self._image, self._spacing = request.image.copy(), request.spacing
            self._hints = HintMaps(self._image, request.spacing, self._hint_config)
        self._hints.set(clicks)
        return self._hints


def _looks_alike(one: RefinementRequest, other: RefinementRequest) -> bool:
    """Whether the network sees the same before the first step."""
    if (one.spacing, one.clicks, one.n_new_clicks, one.command) != (
        other.spacing,
        other.clicks,
        other.n_new_clicks,
        other.command,
    ):
        return False
    arrays = ("image", "percent", "started_from", "before_clicks")
    return all(_same(getattr(one, name), getattr(other, name)) for name in arrays)


def _same(one: npt.NDArray[Any] | None, other: npt.NDArray[Any] | None) -> bool:
    return one is other or (one is not None and other is not None and np.array_equal(one, other))


def _shape(request: RefinementRequest) -> Index:
    a, b, c = request.percent.shape
    return a, b, c


def _enforced(percent: Percent, clicks: tuple[Click, ...]) -> Percent:
    hard = percent.copy()
    for click in clicks:
        hard[click.index] = HIGHEST if click.label == ClickLabel.FOREGROUND else LOWEST
    return hard
