"""Activities and their plugins: who takes part, who would, who has registered what, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from django.http import HttpResponse
from django.urls import reverse
from rest_framework.request import Request

from workflows.api import bodies, paging, parameters, problems
from workflows.api.base import ApiView, answer, moment
from workflows.api.calls import Call, Document
from workflows.api.problems import Problem
from workflows.definitions import strict_json
from workflows.definitions.search import MAX_NAME_LENGTH, MAX_TEXT_LENGTH, SearchValue, kind_of
from workflows.models import Activity, ActivityRecord, Plugin
from workflows.runtime import activities, registering
from workflows.runtime.registering import Became

_BY_NAME = (paging.Key("name"),)
_NEWEST = (paging.numbers("revision", descending=True),)
_EXAMPLE = {
    "phase": "parallel",
    "task_queue": "fraud_check",
    "filter": {"amount": [{"numeric": [">=", 1000]}]},
    "mandatory": True,
    "regulation": "AML",
}


class Activities(ApiView):
    """All activities."""

    calls = {
        "GET": Call(
            "List activities",
            {200: "ActivityPage"},
            about="Those that the newest versions of workflows run, and those that somebody has registered for.",
            query=parameters.PAGING,
        )
    }

    def get(self, request: Request) -> HttpResponse:
        """This will list activities by name."""
        uses = activities.uses()
        page = paging.page_of_names(request._request, activities.names(), query=self.query)
        shown = page["results"]
        plugins, runs = activities.count_plugins(shown), activities.count_runs(shown)
        revisions = dict(Activity.objects.filter(name__in=shown).values_list("name", "revision"))
        page["results"] = [
            {
                "name": name,
                "revision": revisions.get(name, 0),
                "plugins": plugins[name],
                "workflows": _uses_json(uses.get(name, ())),
                "runs": asdict(runs[name]),
            }
            for name in shown
        ]
        return answer(page)


class ActivityView(ApiView):
    """A route below one activity."""

    activity: str
    revision: int

    def look_up(self) -> None:
        """This will find the activity."""
        self.activity = self.kwargs["activity_name"]
        row = Activity.objects.filter(name=self.activity).first()
        if row is None and self.activity not in activities.uses() and not self.may_be_new:
            raise problems.not_found()
        self.revision = row.revision if row is not None else 0

    @property
    def may_be_new(self) -> bool:
        """This will tell whether the activity may be one that nobody has heard of."""
        return self.request.method in ("POST", "PUT")

    def keep(self, said: Any, *, replace: bool, seen: int | None = None) -> HttpResponse:
        """This will register a plugin and show it; raises Problem with every fault."""
        try:
            done = registering.register(
                self.activity,
                {key: value for key, value in said.items() if key != "reason"} if isinstance(said, dict) else said,
                by=self.person.username,
                reason=_reason(said),
                replace=replace,
                only_own=not self.person.is_operator,
                seen=seen,
            )
        except registering.InvalidPlugin as invalid:
            faults = [problems.fault(one.pointer, one.code, one.message) for one in invalid.problems]
            raise bodies.invalid_body(faults) from None
        except registering.AlreadyRegistered as known:
            raise Problem("already_registered", str(known)) from None
        except registering.NotYours as theirs:
            raise Problem("permission_denied", str(theirs)) from None
        except registering.Moved:
            raise _moved() from None
        made = done.became is Became.REGISTERED
        location = reverse("api:activity-plugin", args=[self.activity, done.plugin.name]) if made else None
        return answer(plugin_json(done.plugin), status=201 if made else 200, tag=_tag(done.plugin), location=location)


class OneActivity(ActivityView):
    """One activity."""

    calls = {"GET": Call("Read one activity", {200: "Activity"}, refusals=(404,))}

    def get(self, request: Request) -> HttpResponse:
        """This will give the activity with its plugins."""
        return answer(
            {
                "name": self.activity,
                "revision": self.revision,
                "plugins": [plugin_json(row) for row in activities.plugins_of(self.activity)],
                "workflows": _uses_json(activities.uses().get(self.activity, ())),
                "runs": asdict(activities.count_runs([self.activity])[self.activity]),
            }
        )


class ActivityPlugins(ActivityView):
    """What is registered for an activity."""

    calls = {
        "GET": Call(
            "List the plugins of an activity",
            {200: "PluginPage"},
            about="By name; the activity itself has them in the order in which they run.",
            query=parameters.PAGING,
            refusals=(404,),
        ),
        "POST": Call(
            "Register a plugin",
            {200: "Plugin", 201: "Plugin"},
            about="For every phase that begins from now on. 200 where the same is registered already; another one of "
            "that name is refused.",
            body=Document("PluginDefinition"),
            refusals=(404,),
            example={"name": "fraud-check", **_EXAMPLE},
        ),
    }

    def get(self, request: Request) -> HttpResponse:
        """This will list plugins by name."""
        rows = Plugin.objects.registered().filter(activity__name=self.activity).order_by()
        return answer(paging.page(request._request, rows, keys=_BY_NAME, query=self.query, render=plugin_json))

    def post(self, request: Request) -> HttpResponse:
        """This will register a plugin."""
        return self.keep(self.body, replace=False)


class ActivityPlugin(ActivityView):
    """One plugin."""

    plugin: Plugin | None

    calls = {
        "GET": Call("Read one plugin", {200: "Plugin"}, refusals=(404,), versioned=True),
        "PUT": Call(
            "Register a plugin, or change it",
            {200: "Plugin", 201: "Plugin"},
            about="The whole of it: what is left out gets its default, only the secret stays. Repeated, it changes "
            "nothing. An API client changes what it has registered itself.",
            body=Document("PluginDefinition"),
            refusals=(404,),
            versioned=True,
            example=_EXAMPLE,
        ),
        "DELETE": Call(
            "Deregister a plugin",
            {204: ""},
            about="Phases that have begun still wait for it; later ones do without it.",
            query=(parameters.text("reason", "Why; it is kept in the history.", most=2_000),),
            refusals=(404,),
            versioned=True,
        ),
    }

    def look_up(self) -> None:
        """This will find the plugin; a PUT may name a new one."""
        super().look_up()
        rows = Plugin.objects.registered().select_related("activity")
        self.plugin = rows.filter(activity__name=self.activity, name=self.kwargs["plugin_name"]).first()
        if self.plugin is None and not self.may_be_new:
            raise problems.not_found()

    def tag(self) -> str | None:
        """This will give the plugin's tag."""
        if self.plugin is None:
            if self.request.headers.get("If-Match") is not None:
                raise _moved()
            return None
        return _tag(self.plugin)

    def get(self, request: Request) -> HttpResponse:
        """This will give the plugin."""
        assert self.plugin is not None  # noqa: S101 (looked up)
        return answer(plugin_json(self.plugin), tag=_tag(self.plugin))

    def put(self, request: Request) -> HttpResponse:
        """This will register or change it."""
        name = self.kwargs["plugin_name"]
        if isinstance(self.body, dict) and self.body.get("name") not in (None, name):
            raise bodies.invalid_body([problems.fault("/name", "bad_value", f"The address names {name}.")])
        said = {**self.body, "name": name} if isinstance(self.body, dict) else self.body
        return self.keep(said, replace=True, seen=self.revision_seen)

    def delete(self, request: Request) -> HttpResponse:
        """This will deregister it."""
        try:
            registering.deregister(
                self.activity,
                self.kwargs["plugin_name"],
                by=self.person.username,
                reason=self.query["reason"] or "",
                only_own=not self.person.is_operator,
                seen=self.revision_seen,
            )
        except registering.NotRegistered:
            raise problems.not_found() from None
        except registering.NotYours as theirs:
            raise Problem("permission_denied", str(theirs)) from None
        except registering.Moved:
            raise _moved() from None
        return HttpResponse(status=204)

    @property
    def revision_seen(self) -> int | None:
        """This will give the revision that the caller named, if they did: it may move until the row is locked."""
        return self.plugin.revision if self.seen and self.plugin is not None else None


class ActivityHistory(ActivityView):
    """Who has registered what."""

    calls = {
        "GET": Call(
            "Read the history of an activity's plugins",
            {200: "ActivityRecordPage"},
            about="Newest first: what each was before, and what it is since.",
            query=parameters.PAGING,
            refusals=(404,),
        )
    }

    def get(self, request: Request) -> HttpResponse:
        """This will list its history."""
        rows = ActivityRecord.objects.filter(activity__name=self.activity)
        return answer(paging.page(request._request, rows, keys=_NEWEST, query=self.query, render=_record_json))


def _attribute(name: str, said: str) -> tuple[str, SearchValue]:
    if not 1 <= len(name) <= MAX_NAME_LENGTH:
        raise ValueError("names no search field")
    try:
        value = strict_json.parse(said.encode(errors="surrogatepass"))
    except strict_json.InvalidJson:
        value = said
    if kind_of(value) is None:
        value = said
    return name, value[:MAX_TEXT_LENGTH] if isinstance(value, str) else value


class ExpectedPlugins(ActivityView):
    """Who would take part."""

    calls = {
        "GET": Call(
            "Ask who would take part",
            {200: "ExpectedPlugins"},
            about="In an instance with these search fields whose phases began now; nothing is changed. Numbers, `true` "
            'and `false` are meant as such; `"100"` is a text.',
            query=(
                parameters.family(
                    "attributes",
                    "A search field of the instance: `attributes.amount=100`.",
                    member=_attribute,
                    patterns={"^.+$": {"type": "string"}},
                ),
            ),
            refusals=(404,),
        )
    }

    def get(self, request: Request) -> HttpResponse:
        """This will judge every plugin."""
        attributes = dict(self.query["attributes"])
        judged = activities.would_take_part(self.activity, attributes)
        return answer(
            {
                "attributes": attributes,
                "plugins": [
                    {
                        "name": row.name,
                        "phase": row.said["phase"],
                        "mandatory": row.said["mandatory"],
                        "takes_part": not reason,
                        "reason": reason,
                    }
                    for row, reason in judged
                ],
            }
        )


def plugin_json(row: Plugin) -> dict[str, Any]:
    """This will give a plugin as the API shows it."""
    return {
        **row.said,
        "revision": row.revision,
        "registered_by": row.registered_by,
        "registered_at": moment(row.registered_at),
        "changed_by": row.changed_by,
        "changed_at": moment(row.changed_at),
    }


def _reason(said: Any) -> str:
    reason = said.get("reason") if isinstance(said, dict) else None
    if reason is not None and (not isinstance(reason, str) or len(reason) > 2_000):
        raise bodies.invalid_body([problems.fault("/reason", "wrong_type", "A reason is a text of at most 2,000.")])
    return reason or ""


def _uses_json(uses: Sequence[activities.Use]) -> list[Mapping[str, Any]]:
    return [{**asdict(use), "template_id": str(use.template_id)} for use in uses]


def _record_json(row: ActivityRecord) -> dict[str, Any]:
    return {
        "revision": row.revision,
        "kind": row.kind,
        "plugin": row.plugin,
        "at": moment(row.at),
        "actor": row.actor,
        "reason": row.reason,
        "before": row.before,
        "after": row.after,
    }


def _tag(row: Plugin) -> str:
    return f'"plugin-{row.pk}-{row.revision}"'


def _moved() -> Problem:
    return Problem("precondition_failed", "It is not what you have seen. Read it again, then decide.")
