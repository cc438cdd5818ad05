"""The layout of the picture: lanes, columns, gaps, folds."""

import re

from tasks_ui import graph
from tasks_ui.graph import Lane, Node
from tasks_ui.words import Sign

PENDING, DONE, FAILED = (
    Sign("pending", "pending", "Not yet"),
    Sign("completed", "completed", "Completed"),
    Sign("failed", "failed", "Failed"),
)


def node(position, *parents, sign=PENDING, name=None, **more):
    name = name or f"task_{'abcdefghijklmnopqrstuvwxyz'[position % 26]}"
    return Node(
        position=position, name=name, title=name, kind_icon="service", sign=sign, fact="", href="?", parents=parents,
        done=sign is DONE, **more,
    )  # fmt: skip


def lane(*nodes, title="STAGE", position=0, sign=PENDING):
    return Lane(position=position, title=title, sign=sign, note="", nodes=nodes, done=sign is DONE)


def places(picture):
    return {place.node.position: (place.x, place.y) for place in picture.nodes}


def test_a_task_stands_in_the_column_of_its_longest_path():
    assert graph.columns_of([node(0), node(1, 0), node(2, 0, 1), node(3)]) == {0: 0, 1: 1, 2: 2, 3: 0}


def test_columns_are_centred_and_lanes_are_apart():
    picture = graph.draw([lane(node(0), node(1)), lane(node(2, sign=DONE), title="NEXT", position=1)])
    at = places(picture)

    assert at[1][1] - at[0][1] == 64
    assert at[2][1] == (at[0][1] + at[1][1]) // 2
    first, second = picture.lanes
    assert second.x == first.x + first.width + 14
    assert first.height == second.height


def test_nodes_never_overlap_and_stay_in_their_lanes():
    nodes = [node(n, *([n - 3] if n > 2 else [])) for n in range(12)]
    picture = graph.draw([lane(*nodes)])
    boxes = [(place.x, place.y) for place in picture.nodes]

    for a in boxes:
        assert picture.lanes[0].x < a[0]
        assert a[0] + graph.NODE_WIDTH < picture.lanes[0].x + picture.lanes[0].width
        assert all(
            a == b or abs(a[0] - b[0]) >= graph.NODE_WIDTH or abs(a[1] - b[1]) >= graph.NODE_HEIGHT for b in boxes
        )


def test_a_long_edge_runs_past_the_nodes_in_between():
    picture = graph.draw([lane(node(0), node(1, 0), node(2, 0, 1))])
    middle = picture.nodes[1]
    long = next(edge for edge in picture.edges if edge.path.count("Q") == 4)

    levels = {int(y) for y in re.findall(r"Q\d+ \d+ \d+ (\d+)H", long.path)}
    assert any(y < middle.y or y > middle.y + graph.NODE_HEIGHT for y in levels)


def test_passed_lines_are_solid():
    picture = graph.draw([lane(node(0, sign=DONE), node(1, 0), node(2, 1), sign=Sign("active", "running", "Active"))])

    assert [edge.kind for edge in picture.edges] == ["todo", "done"]


def test_equal_siblings_are_folded_and_say_how_they_are():
    nodes = [node(n, name=f"check_page_{n}", sign=FAILED if n < 3 else DONE) for n in range(480)]
    folded = graph.fold([*nodes, node(480, *range(480), name="join")])

    assert [(one.title, one.fact, one.count) for one in folded] == [
        ("check_page × 480", "3 failed", 480),
        ("join", "", 1),
    ]
    assert folded[0].sign is FAILED
    assert folded[1].parents == (0,)


def test_a_long_chain_is_folded_into_stretches():
    folded = graph.fold([node(n, *([n - 1] if n else []), name=f"step_{n}") for n in range(5000)])

    assert len(folded) <= graph.FOLD_OVER
    assert sum(one.count for one in folded) == 5000
    assert len(graph.draw([lane(*folded)]).nodes) == len(folded)


def test_an_empty_stage_lets_the_line_through():
    picture = graph.draw([lane(title="START", sign=DONE), lane(node(0), position=1)])

    assert picture.edges[0].kind in ("done", "todo")
    assert len(picture.lanes) == 2


def test_nothing_at_all():
    assert graph.draw([]).nodes == ()
