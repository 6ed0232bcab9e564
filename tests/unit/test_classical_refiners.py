"""Graph cut, random walker and GrowCut: exact where an oracle is, and on tiny cases whose answer is known."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import maximum_flow

from medseg_rl.errors import InputFileError, MissingExtraError
from medseg_rl.hints.clicks import Click, ClickLabel
from medseg_rl.refiner import HIGHEST, LOWEST, MASK_THRESHOLD, RefinementRequest, Refiner
from medseg_rl.refiners.extras import imported
from medseg_rl.refiners.graph_cut import GraphCut, GraphCutConfig, edge_costs
from medseg_rl.refiners.grid_cut import minimum_cut
from medseg_rl.refiners.grow_cut import GrowCut, GrowCutConfig
from medseg_rl.refiners.random_walker import BACKGROUND, OBJECT, RandomWalker, RandomWalkerConfig, walked_probability
from medseg_rl.refiners.registry import CLASSICAL, classical_refiner, parse_options
from medseg_rl.refiners.seeded import SeededConfig, posed

FOREGROUND = ClickLabel.FOREGROUND
FAR = ClickLabel.BACKGROUND
SHAPE = (21, 20, 18)
SOLVERS = {
    "graph_cut": lambda **options: GraphCut(GraphCutConfig(**options)),
    "random_walker": lambda **options: RandomWalker(RandomWalkerConfig(**options)),
    "grow_cut": lambda **options: GrowCut(GrowCutConfig(**options)),
}


# ---- the cut ---------------------------------------------------------------------------------------------------------


def between(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Voxels that have a next one along the axis, and those next ones."""
    return tuple(
        tuple(cut if a == axis else slice(None) for a in range(3)) for cut in (slice(None, -1), slice(1, None))
    )  # type: ignore[return-value]


def flow_by_scipy(terminal: np.ndarray, along: tuple[np.ndarray, ...]) -> int:
    """Largest flow of the same grid as an explicit graph."""
    number = np.arange(terminal.size).reshape(terminal.shape)
    rows, columns, values = [], [], []
    for axis, cost in enumerate(along):
        here, there = between(axis)
        for a, b in ((here, there), (there, here)):
            rows.append(number[a].ravel())
            columns.append(number[b].ravel())
            values.append(cost[here].ravel())
    for wanted, source in ((terminal > 0, True), (terminal < 0, False)):
        ends = number[wanted]
        end = np.full(ends.size, terminal.size + (not source))
        rows.append(end if source else ends)
        columns.append(ends if source else end)
        values.append(np.abs(terminal[wanted]))
    graph = coo_matrix(
        (np.concatenate(values).astype(np.int32), (np.concatenate(rows), np.concatenate(columns))),
        shape=(terminal.size + 2,) * 2,
    )
    return int(maximum_flow(graph.tocsr(), terminal.size, terminal.size + 1).flow_value)


def cost_of(inside: np.ndarray, terminal: np.ndarray, along: tuple[np.ndarray, ...]) -> int:
    """What a labelling pays."""
    total = terminal[(terminal > 0) & ~inside].sum() - terminal[(terminal < 0) & inside].sum()
    for axis, cost in enumerate(along):
        here, there = between(axis)
        total += cost[here][inside[here] != inside[there]].sum()
    return int(total)


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(*[st.integers(1, 6)] * 3),
    st.integers(0, 2**32 - 1),
    st.sampled_from([2, 20, 5000]),
    st.sampled_from([1, 20, 5000]),
    st.sampled_from([0.0, 0.9]),
)
def test_the_cut_costs_what_the_largest_flow_of_scipy_carries(shape, seed, largest, dearest, blank):
    rng = np.random.default_rng(seed)
    terminal = rng.integers(-largest, largest + 1, shape).astype(np.int32)
    terminal[rng.random(shape) < blank] = 0
    along = tuple(rng.integers(0, dearest + 1, shape).astype(np.int32) for _ in range(3))
    kept = terminal.copy()
    inside, flow = minimum_cut(terminal, along)
    assert flow == flow_by_scipy(terminal, along) == cost_of(inside, terminal, along)
    assert np.array_equal(terminal, kept)


def test_a_chain_is_cut_at_its_cheapest_link():
    terminal = np.zeros((7, 1, 1), np.int32)
    terminal[0], terminal[-1] = 100, -100
    links = np.array([9, 8, 3, 8, 9, 9, 50], np.int32).reshape(7, 1, 1)
    inside, flow = minimum_cut(terminal, (links, np.zeros_like(links), np.zeros_like(links)))
    assert flow == 3
    assert inside.ravel().tolist() == [True] * 3 + [False] * 4


def test_edges_cost_more_across_large_faces_and_less_across_contrast():
    image = np.zeros((4, 4, 4), np.float32)
    image[2:] = 3.0
    x, y, z = edge_costs(image, (1.0, 1.0, 4.0), smoothness=1.0, contrast=1.0)
    assert (y[0, 0, 0], z[0, 0, 0]) == (1587, 397)  # the cube root of 4 mm3 over the step in mm, in thousandths
    assert x[0, 0, 0] == 1587
    assert x[1, 0, 0] < 100


# ---- what a click decides --------------------------------------------------------------------------------------------


def block_request(
    clicks: tuple[Click, ...], *, start: str = "half", new: int = 1, spacing: tuple[float, float, float] = (1, 1, 1)
) -> RefinementRequest:
    """A block of bright voxels in little noise. `half`: the state lacks its upper half; `empty`: it knows nothing."""
    rng = np.random.default_rng(3)
    reference = block()
    image = (reference * 4.0 - 2.0 + rng.normal(0, 0.1, SHAPE)).astype(np.float32)
    percent = np.full(SHAPE, LOWEST, np.uint8)
    if start == "half":
        percent = np.where(reference, 60, 10).astype(np.uint8)
        percent[12:] = np.where(reference, 40, 10)[12:]
    return RefinementRequest(image, spacing, percent, clicks, new)


def block() -> np.ndarray:
    reference = np.zeros(SHAPE, bool)
    reference[6:16, 5:15, 4:14] = True
    return reference


@pytest.mark.parametrize("kind", sorted(SOLVERS))
def test_one_click_in_the_missed_half_of_a_clear_object_brings_it_back(kind: str):
    refiner = SOLVERS[kind](reach_mm=12.0)
    answer = refiner.refine(block_request((Click((14, 10, 9), FOREGROUND),)))
    assert np.array_equal(answer > MASK_THRESHOLD, block())


@pytest.mark.parametrize("kind", sorted(SOLVERS))
def test_one_click_on_nothing_finds_a_clear_object(kind: str):
    options = {"ball_mm": 3.0} if kind == "random_walker" else {}
    answer = SOLVERS[kind](**options).refine(block_request((Click((11, 10, 9), FOREGROUND),), start="empty"))
    assert np.array_equal(answer > MASK_THRESHOLD, block())


@pytest.mark.parametrize("kind", sorted(SOLVERS))
def test_nothing_changes_beyond_the_reach_of_the_new_clicks(kind: str):
    old, new = Click((2, 2, 2), FAR), Click((13, 10, 9), FOREGROUND)
    request = block_request((old, new), spacing=(1.0, 1.0, 2.0))
    answer = SOLVERS[kind](reach_mm=4.0).refine(replace(request, hard_clicks=False))
    grid = np.stack(np.indices(SHAPE), -1)
    distance = np.linalg.norm((grid - new.index) * (1.0, 1.0, 2.0), axis=-1)
    assert np.array_equal(answer[distance > 4], request.percent[distance > 4])
    assert (answer != request.percent).any()


@pytest.mark.parametrize("kind", sorted(SOLVERS))
def test_a_region_all_of_one_intensity_is_answered(kind: str):
    request = replace(block_request((Click((14, 10, 9), FOREGROUND),)), image=np.zeros(SHAPE, np.float32))
    assert SOLVERS[kind]().refine(request)[14, 10, 9] == HIGHEST


def test_seeds_are_the_sure_core_the_far_outside_and_the_clicks_whose_surroundings_nothing_else_decides():
    mask = np.zeros((31, 31, 31), bool)
    mask[5:26, 5:26, 5:26] = True
    percent = np.where(mask, 90, 10).astype(np.uint8)
    click = Click((15, 15, 22), FAR)
    request = RefinementRequest(np.zeros(mask.shape, np.float32), (1.0, 1.0, 1.0), percent, (click,), 1)
    _, problem = posed(request, SeededConfig(reach_mm=1000.0))
    core = np.zeros_like(mask)
    core[8:23, 8:23, 8:23] = True  # deeper than 3 mm: the outermost three layers are not
    near = np.linalg.norm(np.stack(np.indices(mask.shape), -1) - click.index, axis=-1) <= 3
    assert np.array_equal(problem.foreground, core & ~near)
    assert problem.background[click.index]
    assert problem.background[0, 15, 15]  # the border of the region
    assert not problem.background[near].sum() > 1
    assert not (problem.foreground & problem.background).any()


def test_only_the_first_click_on_nothing_seeds_its_surroundings():
    clicks = (Click((11, 10, 9), FOREGROUND), Click((11, 10, 12), FAR))
    request = block_request(clicks, start="empty")
    _, problem = posed(request, SeededConfig(ball_mm=2.0))
    distance = np.linalg.norm(np.stack(np.indices(SHAPE), -1) - clicks[0].index, axis=-1)
    other = np.linalg.norm(np.stack(np.indices(SHAPE), -1) - clicks[1].index, axis=-1)
    assert np.array_equal(problem.foreground, (distance <= 2) & (distance < other))
    _, informed = posed(block_request(clicks), SeededConfig(ball_mm=2.0, reach_mm=30.0))
    assert not informed.foreground[11, 10, 7]


@pytest.mark.parametrize("kind", sorted(SOLVERS))
def test_what_no_seed_speaks_against_stays(kind: str):
    """A region all inside the object, as a tile of a large one is: there is no background to compete."""
    percent = np.full(SHAPE, HIGHEST, np.uint8)
    request = replace(block_request((Click((11, 10, 9), FOREGROUND),)), percent=percent, before_clicks=percent * 0 + 1)
    assert np.array_equal(SOLVERS[kind]().refine(request), percent)


def test_whether_a_start_knew_anything_is_asked_of_the_state_before_the_clicks():
    request = block_request((Click((14, 10, 9), FOREGROUND),))
    empty = np.full(SHAPE, LOWEST, np.uint8)
    assert posed(request, SeededConfig())[1].informed
    assert not posed(replace(request, before_clicks=empty), SeededConfig())[1].informed
    crossing = np.where(np.indices(SHAPE)[0] > 9, HIGHEST, LOWEST).astype(np.uint8)  # goes on beyond the region
    assert posed(replace(request, percent=crossing, before_clicks=empty), SeededConfig())[1].informed


# ---- the walk --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1, 2])
def test_a_walk_on_a_line_without_edges_meets_an_end_with_the_share_of_the_way(factor: int):
    labels = np.zeros((33, 2, 2), np.int8)
    labels[0], labels[-1] = OBJECT, BACKGROUND
    found = walked_probability(np.zeros(labels.shape, np.float32), labels, (1.0, 1.0, 1.0), beta=1.0, factor=factor)
    assert np.abs(found[:, 0, 0] - np.clip(np.linspace(1, 0, 33), 0.01, 0.99)).max() < 0.03 * factor


def test_a_large_region_is_walked_at_a_lower_resolution_and_says_nearly_the_same():
    request = block_request((Click((14, 10, 9), FOREGROUND),))
    fine, thin = (
        RandomWalker(RandomWalkerConfig(reach_mm=12.0, most_voxels=most)).refine(request) > MASK_THRESHOLD
        for most in (1e6, 2500)
    )
    assert 2 * (fine & thin).sum() / (fine.sum() + thin.sum()) > 0.85


# ---- by name ---------------------------------------------------------------------------------------------------------


def test_every_name_gives_a_refiner_of_that_name():
    for kind in CLASSICAL:
        refiner: Refiner = classical_refiner(kind)
        assert refiner.name == refiner.describe()["kind"] == kind


def test_options_are_numbers_of_that_refiner():
    assert parse_options("graph_cut", "smoothness=3,prior=2") == (("prior", 2.0), ("smoothness", 3.0))
    with pytest.raises(InputFileError, match="no option 'beta'; it has reach_mm"):
        parse_options("graph_cut", "beta=3")
    with pytest.raises(InputFileError, match="must be a number"):
        parse_options("random_walker", "beta=much")
    with pytest.raises(InputFileError, match='no refiner "level_set"; choose enforce_only, '):
        classical_refiner("level_set")


def test_a_missing_library_is_one_line_that_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "itk", None)
    with pytest.raises(MissingExtraError, match=r"^grow_cut needs .*pip install 'medseg-rl\[growcut\]'$"):
        GrowCut()


def test_a_library_without_its_remote_module_is_missing_too():
    with pytest.raises(MissingExtraError, match=r"math.*has no attribute 'FastGrowCut'"):
        imported("math", needed="FastGrowCut", extra="growcut", what="grow_cut")
