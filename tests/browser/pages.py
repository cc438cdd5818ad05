"""Every page of the product, with something on it, and what a person must be able to reach there."""

from dataclasses import dataclass

from tests.browser.people import Office


@dataclass(frozen=True)
class Place:
    """A page: its address, who looks at it, and the main action as (role, name)."""

    name: str
    path: str
    user: str | None = "olivia"
    action: tuple[str, str] | None = None


NAMES = (
    "sign-in", "overview", "instances", "instance", "failed", "timeline", "history", "data", "tasks", "messages",
    "act", "inbox", "task", "templates", "template", "publish", "start", "start-form", "quarantine",
    "quarantined", "subscriptions", "queues", "queue", "engine", "activities", "activity", "plugin",
    "not-found",
)  # fmt: skip


def furnish(office: Office) -> dict[str, Place]:
    """Start something of each kind, and say where it is to be seen."""
    payment = office.start()
    waiting = office.task_of(payment)
    office.call(f"human-tasks/{waiting['id']}/claim/", {}, user="fred")
    office.call(f"human-tasks/{waiting['id']}/comment/", {"comment": "Looks right"}, user="fred")
    failed = office.start("ITALIAN", customer="Ada")
    office.call(
        "events/",
        {
            "event_name": "TaskFailed",
            "component_name": "ITALIAN",
            "business_ref_no": failed["business_ref_no"],
            "stage_name": "ORDER",
            "task_name": "confirm_order",
            "attempt": 1,
            "error": {"code": "E_CLOSED", "message": "The shop is closed", "retryable": False},
        },
    )
    office.pizza_at_the_door()
    office.hold_back("The body is not JSON: Expecting property name, line 1, column 2")
    template = office.template_of("ITALIAN")["id"]
    page = f"/instances/{payment['id']}/"
    places = (
        Place("sign-in", "/signin/", None, ("button", "Sign in")),
        Place("overview", "/"),
        Place("instances", "/instances/", action=("link", "Start")),
        Place("instance", page, action=("button", "Suspend…")),
        Place("failed", f"/instances/{failed['id']}/", action=("button", "Retry")),
        Place("timeline", f"{page}?tab=timeline"),
        Place("history", f"{page}?tab=history"),
        Place("data", f"{page}?tab=data"),
        Place("tasks", f"{page}?tab=tasks"),
        Place("messages", f"{page}?tab=messages"),
        Place("act", f"{page}?do=suspend", action=("button", "Suspend")),
        Place("inbox", "/inbox/?view=claimable", "delia", ("link", "Deliver food")),
        Place("task", f"/tasks/{waiting['id']}/", "fred", ("button", "Approve")),
        Place("templates", "/templates/", action=("link", "New template")),
        Place("template", f"/templates/{template}/"),
        Place("publish", "/templates/publish/", action=("button", "Publish")),
        Place("start", "/start/", action=("link", "Deliver Pizza")),
        Place("start-form", f"/start/{template}/", action=("button", "Start")),
        Place("quarantine", "/quarantine/", "admin", ("button", "Hand in again")),
        Place("quarantined", "/quarantine/1/", "admin", ("button", "Hand in again")),
        Place("subscriptions", "/subscriptions/", action=("button", "Show")),
        Place("queues", "/queues/", action=("link", "make_food_queue")),
        Place("queue", "/queues/make_food_queue/"),
        Place("engine", "/engine/", action=("button", "Pause everything")),
        Place("activities", "/activities/", action=("link", "document-processing")),
        Place(
            "activity", "/activities/document-processing/?attributes=amount%3D5", action=("link", "Register a plugin")
        ),
        Place("plugin", "/plugins/register/?activity=document-processing", action=("button", "Register it")),
        Place("not-found", "/instances/00000000-0000-0000-0000-000000000000/"),
    )
    assert tuple(place.name for place in places) == NAMES
    return {place.name: place for place in places}
