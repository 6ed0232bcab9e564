"""What an open proposal comes to in numbers: how far its farthest voxel is, looked for in slices of what is large."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.volume import Box, Volume
from medseg_rl_gui import counts
from medseg_rl_gui.view_model import ProposalView

AFFINE = np.diag([-0.8, 1.1, 2.0, 1.0])
START = (3, 4, 5)


def farthest(changed: np.ndarray, *clicks: tuple[int, int, int]) -> float | None:
    stop = tuple(a + n for a, n in zip(START, changed.shape, strict=True))
    shown = ProposalView(1, Box(START, (stop[0], stop[1], stop[2])), changed)
    session = SimpleNamespace(
        clicks=[Click(index, ClickLabel.FOREGROUND) for index in clicks],
        image=Volume(np.zeros((60, 60, 60), np.int16), AFFINE),
    )
    return counts._farthest(SimpleNamespace(session=session, view=SimpleNamespace(proposal=shown)), changed)  # type: ignore[arg-type]


def by_hand(changed: np.ndarray, *clicks: tuple[int, int, int]) -> float:
    points = (np.argwhere(changed) + START) @ AFFINE[:3, :3].T
    to_each = [np.linalg.norm(points - AFFINE[:3, :3] @ click, axis=1) for click in clicks]
    return float(np.min(to_each, axis=0).max())


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_farthest_changed_voxel_is_found_whatever_lies_round_it(order: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        changed = np.asarray(rng.random((9, 12, 7)) < 0.05, order=order)  # type: ignore[call-overload]
        changed[4, 4, 4] = True
        for clicks in ([(8, 9, 9)], [(8, 9, 9), (4, 14, 6)]):
            assert farthest(changed, *clicks) == pytest.approx(by_hand(changed, *clicks))


def test_of_what_is_large_it_is_right_to_within_the_slices_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    axes = np.ogrid[-15:15:30j, -15:15:30j, -15:15:30j]
    ball = np.asarray(sum(axis**2 for axis in axes) < 14**2)
    exact = by_hand(ball, (20, 20, 20))
    monkeypatch.setattr(counts, "LARGE_VOXELS", ball.size // 4)
    assert farthest(ball, (20, 20, 20)) == pytest.approx(exact, abs=4 * 0.8)


def test_nothing_changed_or_no_click_has_no_distance() -> None:
    assert farthest(np.zeros((3, 3, 3), bool), (4, 4, 4)) is None
    assert farthest(np.ones((3, 3, 3), bool)) is None
