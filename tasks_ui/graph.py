"""Where each stage, task and edge of the picture stands. Values in, lengths out: nothing here knows rows or requests.

A lane per stage, left to right; in a lane a task's column is its longest path from a root; columns are centred on the
lanes' middle line. Edges leave right, enter left and bend just before the child; one that crosses several columns runs
in a gap between their nodes.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tasks_ui.words import Sign

NODE_WIDTH, NODE_HEIGHT = 152, 50
_PITCH = NODE_HEIGHT + 14
_COLUMN = NODE_WIDTH + 24
_GAP = 14
_TOP, _BOTTOM = 52, 11
_FORK, _PLAIN = 20, 12
_RADIUS = 7
_LETTERS = 16
FOLD_OVER = 60
"""A stage with more tasks than this is drawn with equal siblings folded into one node."""
_STRETCHES = 12

_WORST = (
    "failed", "compensation_failed", "waiting", "person", "started", "scheduled", "compensating",
    "pending", "cancelled", "compensated", "skipped", "completed",
)  # fmt: skip
_PASSED = frozenset({"completed", "skipped"})


@dataclass(frozen=True, slots=True)
class Node:
    """A task, or several equal ones, to be drawn. `parents` are positions of tasks of the same stage.

    `group` is written above the first column of those that share it.
    """

    position: int
    name: str
    title: str
    kind_icon: str
    sign: Sign
    fact: str
    href: str
    parents: tuple[int, ...] = ()
    selected: bool = False
    done: bool = False
    count: int = 1
    group: str = ""


@dataclass(frozen=True, slots=True)
class Lane:
    """A stage to be drawn."""

    position: int
    title: str
    sign: Sign
    note: str
    nodes: tuple[Node, ...]
    done: bool = False


@dataclass(frozen=True, slots=True)
class PlacedNode:
    """A node with its place; the template adds the fixed offsets of what is inside."""

    node: Node
    x: int
    y: int

    @property
    def label(self) -> str:
        """This will shorten the title to what fits."""
        return shorten(self.node.title, _LETTERS)

    @property
    def fact(self) -> str:
        """This will shorten the fact to what fits."""
        return shorten(self.node.fact, 20)

    @property
    def halo(self) -> tuple[int, int]:
        """This will give the corner of the frame of a chosen node."""
        return self.x - 4, self.y - 4

    @property
    def icon(self) -> tuple[int, int]:
        """This will give the corner of the state's icon."""
        return self.x + 9, self.y + 9

    @property
    def kind(self) -> tuple[int, int]:
        """This will give the corner of the kind's icon."""
        return self.x + 10, self.y + 29

    @property
    def first_line(self) -> tuple[int, int]:
        """This will give where the title begins."""
        return self.x + 30, self.y + 21

    @property
    def second_line(self) -> tuple[int, int]:
        """This will give where the fact begins."""
        return self.x + 30, self.y + 38


@dataclass(frozen=True, slots=True)
class PlacedLane:
    """A lane with its place."""

    lane: Lane
    x: int
    width: int
    height: int

    @property
    def icon(self) -> tuple[int, int]:
        """This will give the corner of the state's icon."""
        return self.x + 12, 13

    @property
    def name_x(self) -> int:
        """This will give where the name begins."""
        return self.x + 33

    @property
    def note_x(self) -> int:
        """This will give where the note ends."""
        return self.x + self.width - 12

    @property
    def name(self) -> str:
        """This will shorten the name to what fits."""
        return shorten(self.lane.title, max(6, (self.width - 46) // 8))

    @property
    def note(self) -> str:
        """This will give the note where the name leaves room for it."""
        room = self.width - 57 - 8 * len(self.name)
        return self.lane.note if 5.8 * len(self.lane.note) <= room else ""


@dataclass(frozen=True, slots=True)
class Edge:
    """A line, drawn solid once it is passed; `tip` is where its arrow points, if it has one."""

    path: str
    kind: str
    tip: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Caption:
    """The name of a group, above its first column."""

    text: str
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Picture:
    """The whole drawing."""

    width: int
    height: int
    lanes: tuple[PlacedLane, ...]
    nodes: tuple[PlacedNode, ...]
    edges: tuple[Edge, ...]
    captions: tuple[Caption, ...] = ()


@dataclass(slots=True)
class _Plan:
    """A lane before it has its place."""

    lane: Lane
    columns: list[list[Node]]
    left: int
    right: int
    width: int
    leaves: list[Node] = field(default_factory=list)


def draw(lanes: Iterable[Lane]) -> Picture:
    """This will lay the stages and tasks out."""
    plans = [_plan(lane) for lane in lanes]
    rows = max((len(column) for plan in plans for column in plan.columns), default=1) or 1
    height = _TOP + rows * _PITCH - _GAP + _BOTTOM - 1
    middle = _TOP + (rows * _PITCH - _GAP) // 2
    placed_lanes: list[PlacedLane] = []
    placed_nodes: list[PlacedNode] = []
    edges: list[Edge] = []
    captions: list[Caption] = []
    x = 1
    for number, plan in enumerate(plans):
        placed_lanes.append(PlacedLane(lane=plan.lane, x=x, width=plan.width, height=height))
        places = _places(plan, x, middle)
        placed_nodes += places.values()
        captions += _captions(plan, x)
        edges += _inner_edges(plan, places)
        edges += _outer_edges(plan, places, x, middle, first=number == 0, last=number == len(plans) - 1)
        x += plan.width + _GAP
    # Passed lines lie over those to come.
    edges.sort(key=lambda edge: edge.kind != "todo")
    return Picture(
        width=max(x - _GAP + 1, 2), height=height + 2,
        lanes=tuple(placed_lanes), nodes=tuple(placed_nodes), edges=tuple(edges), captions=tuple(captions),
    )  # fmt: skip


def shorten(text: str, letters: int) -> str:
    """This will cut a text to so many letters, the last one an ellipsis."""
    return text if len(text) <= letters else text[: letters - 1].rstrip() + "…"


# --- Folding ------------------------------------------------------------------------------------------------------


def fold(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """This will fold equal siblings into one node each, then whatever else it takes to draw at most `FOLD_OVER`."""
    if len(nodes) <= FOLD_OVER:
        return tuple(nodes)
    columns = columns_of(nodes)
    folded = _fold_by(
        nodes, columns, lambda node, parents: (columns[node.position], node.kind_icon, _stem(node.name), parents)
    )
    if len(folded) > FOLD_OVER:
        columns = columns_of(folded)
        folded = _fold_by(folded, columns, lambda node, parents: (columns[node.position],))
    if len(folded) > FOLD_OVER:
        # One long chain: stretches of it become one node each.
        columns = columns_of(folded)
        stretch = -(-len(folded) // _STRETCHES)
        folded = _fold_by(folded, columns, lambda node, parents: (columns[node.position] // stretch,))
    return tuple(folded)


def _fold_by(
    nodes: Sequence[Node], columns: Mapping[int, int], key_of: Callable[[Node, frozenset[int]], object]
) -> list[Node]:
    groups: dict[object, list[Node]] = {}
    leader: dict[int, int] = {}
    for node in sorted(nodes, key=lambda one: columns[one.position]):
        parents = frozenset(leader[parent] for parent in node.parents if parent in leader)
        members = groups.setdefault(key_of(node, parents), [])
        members.append(node)
        leader[node.position] = members[0].position
    return [_folded(members, leader) for members in groups.values()]


def _folded(members: list[Node], leader: Mapping[int, int]) -> Node:
    first = members[0]
    parents = {leader[parent] for member in members for parent in member.parents} - {first.position}
    ordered = tuple(sorted(parents))
    if len(members) == 1:
        return replace(first, parents=ordered)
    count = sum(member.count for member in members)
    states = Counter[str]()
    for member in members:
        states[member.sign.state] += member.count
    worst = min(members, key=lambda one: _WORST.index(one.sign.state) if one.sign.state in _WORST else 0)
    stems = {_stem(member.name) for member in members}
    title = _readable_stem(first) if len(stems) == 1 else "Tasks"
    times = f" × {count:,}"
    return replace(
        first,
        title=shorten(title, _LETTERS - len(times)) + times,
        sign=worst.sign,
        fact=_fold_fact(states, count),
        parents=ordered,
        href="",
        selected=any(member.selected for member in members),
        done=all(member.done for member in members),
        count=count,
        name=first.name if len(stems) > 1 else _stem(first.name),
    )


def _fold_fact(states: Counter[str], count: int) -> str:
    failed = states["failed"] + states["compensation_failed"]
    if failed:
        return f"{failed:,} failed"
    done = states["completed"] + states["skipped"]
    if done == count:
        return "all done"
    return f"{done:,} of {count:,} done"


def _stem(name: str) -> str:
    return re.sub(r"[\s_\-.#]*\d+$", "", name) or name


def _readable_stem(node: Node) -> str:
    title = re.sub(r"[\s_\-.#]*\d+$", "", node.title)
    return title or node.title


# --- Columns ------------------------------------------------------------------------------------------------------


def columns_of(nodes: Sequence[Node]) -> dict[int, int]:
    """This will give each task's column: its longest path from a root."""
    known = {node.position: node for node in nodes}
    children: dict[int, list[int]] = defaultdict(list)
    missing: dict[int, int] = {}
    for node in nodes:
        parents = [parent for parent in node.parents if parent in known]
        missing[node.position] = len(parents)
        for parent in parents:
            children[parent].append(node.position)
    column = dict.fromkeys(known, 0)
    ready = [position for position, count in missing.items() if not count]
    while ready:
        position = ready.pop()
        for child in children[position]:
            column[child] = max(column[child], column[position] + 1)
            missing[child] -= 1
            if not missing[child]:
                ready.append(child)
    return column


def _plan(lane: Lane) -> _Plan:
    nodes = fold(lane.nodes)
    column = columns_of(nodes)
    columns: list[list[Node]] = [[] for _ in range(max(column.values(), default=-1) + 1)]
    for node in sorted(nodes, key=lambda one: one.position):
        columns[column[node.position]].append(node)
    parents = {parent for node in nodes for parent in node.parents}
    leaves = [node for node in nodes if node.position not in parents]
    left = _FORK if columns and len(columns[0]) > 1 else _PLAIN
    right = _FORK if len(leaves) > 1 else _PLAIN
    needed = left + right + max(0, len(columns) * _COLUMN - 24)
    # The name must fit; what is wider than the nodes goes to both sides.
    name = 46 + 8 * min(len(lane.title), 24)
    spare = max(0, name - needed)
    return _Plan(lane, columns, left + spare // 2, right + spare - spare // 2, needed + spare, leaves)


def _places(plan: _Plan, x: int, middle: int) -> dict[int, PlacedNode]:
    places = {}
    for number, column in enumerate(plan.columns):
        top = middle - (len(column) * _PITCH - _GAP) // 2
        for row, node in enumerate(column):
            places[node.position] = PlacedNode(node=node, x=x + plan.left + number * _COLUMN, y=top + row * _PITCH)
    return places


def _captions(plan: _Plan, x: int) -> list[Caption]:
    named: dict[str, int] = {}
    for number, column in enumerate(plan.columns):
        for node in column:
            if node.group:
                named.setdefault(node.group, number)
    return [Caption(text, x + plan.left + number * _COLUMN + 2, _TOP - 7) for text, number in named.items()]


# --- Edges --------------------------------------------------------------------------------------------------------


def _inner_edges(plan: _Plan, places: Mapping[int, PlacedNode]) -> list[Edge]:
    edges = []
    for place in places.values():
        for parent in place.node.parents:
            if (start := places.get(parent)) is None:
                continue
            a, b = (start.x + NODE_WIDTH, start.y + 25), (place.x, place.y + 25)
            crossed = [other for other in places.values() if start.x + NODE_WIDTH < other.x < place.x]
            path = _route(a, b, bend=place.x - 12, stop=place.x - 3, crossed=crossed)
            edges.append(Edge(path=path, kind=_kind(start.node), tip=b))
    return edges


def _outer_edges(
    plan: _Plan, places: Mapping[int, PlacedNode], x: int, middle: int, *, first: bool, last: bool
) -> list[Edge]:
    edges = []
    right = x + plan.width
    passed = "done" if plan.lane.done else "todo"
    begun = passed if plan.lane.sign.state in ("pending", "cancelled") else "done"
    if not plan.columns:
        # Nothing to do here: the line runs through.
        start = x + 40 if first else x
        if not last:
            edges.append(Edge(path=f"M{start} {middle}H{right + _GAP}", kind=passed))
        elif not first:
            edges.append(Edge(path=f"M{x} {middle}H{x + plan.width // 2}", kind=begun))
        return edges
    if not first:
        for node in plan.columns[0]:
            place = places[node.position]
            kind = "todo" if node.sign.state in ("pending", "cancelled") and begun != "done" else begun
            path = _route((x, middle), (place.x, place.y + 25), bend=x + 8, stop=place.x - 3, crossed=())
            edges.append(Edge(path=path, kind=kind, tip=(place.x, place.y + 25)))
    if not last:
        for node in plan.leaves:
            place = places[node.position]
            crossed = [other for other in places.values() if other.x > place.x + NODE_WIDTH]
            path = _route(
                (place.x + NODE_WIDTH, place.y + 25), (right, middle), bend=right - 8, stop=right, crossed=crossed
            )
            edges.append(Edge(path=path, kind=_kind(node) if node.done or passed == "done" else "todo"))
        edges.append(Edge(path=f"M{right} {middle}H{right + _GAP}", kind=passed))
    return edges


def _kind(start: Node) -> str:
    if start.sign.state in ("compensated", "compensating"):
        return "undo"
    return "done" if start.done or start.sign.state in _PASSED else "todo"


def _route(a: tuple[int, int], b: tuple[int, int], *, bend: int, stop: int, crossed: Sequence[PlacedNode]) -> str:
    """A path from a to b: straight, or over two corners at `bend`; past nodes in between, through a gap among them."""
    (x1, y1), (_x2, y2) = a, b
    if not crossed:
        return f"M{x1} {y1}" + _turn(y1, y2, bend) + f"H{stop}"
    y = _gap(y1, y2, crossed)
    return f"M{x1} {y1}" + _turn(y1, y, x1 + 12) + _turn(y, y2, bend) + f"H{stop}"


def _turn(y1: int, y2: int, x: int) -> str:
    """A step from one height to another at x, with round corners; nothing where the heights are the same."""
    if y1 == y2:
        return ""
    radius = min(_RADIUS, abs(y2 - y1) // 2)
    sign = 1 if y2 > y1 else -1
    return f"H{x - radius}Q{x} {y1} {x} {y1 + sign * radius}V{y2 - sign * radius}Q{x} {y2} {x + radius} {y2}"


def _gap(y1: int, y2: int, crossed: Sequence[PlacedNode]) -> int:
    """The height at which a line passes all these nodes with the least detour."""
    heights = {y1, y2}
    for place in crossed:
        heights |= {place.y - 7, place.y + NODE_HEIGHT + 7}
    free = [y for y in heights if all(not place.y - 4 < y < place.y + NODE_HEIGHT + 4 for place in crossed)]
    return min(free, key=lambda y: (abs(y - y1) + abs(y - y2), y)) if free else min(heights)
