"""Columns of our own: a protected FSM state, JSON kept as the text that was written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, cast

import django_fsm
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.base import ModelState
from django.db.models.lookups import In

from workflows.engine.lifecycle import Move

P = ParamSpec("P")
R = TypeVar("R")


class _Guard(django_fsm.FSMFieldDescriptor):  # type: ignore[misc]
    """Refuses direct writes to a state.

    django-fsm-2 switches `protected` off on the shared field object while a row is refreshed, which races between
    threads and leaks when the refresh raises; here the row itself says that it is being loaded.
    """

    def __set__(self, instance: Any, value: Any) -> None:
        field = self.field
        if field.protected and field.name in instance.__dict__ and not instance.__dict__.get("_state_loading"):
            raise AttributeError(f"{field.name} of {type(instance).__name__} changes only through a transition")
        field.set_proxy(instance, value)
        field.set_state(instance, value)


if TYPE_CHECKING:

    class StateField(models.CharField[str, str]):
        """A protected state column; its values are those of `states`."""

        def __init__(self, *, states: Any, default: str, **options: Any) -> None: ...

else:

    class StateField(django_fsm.FSMField):
        """A protected state column; its values are those of `states` (a StrEnum or a sequence of names)."""

        descriptor_class = _Guard

        def __init__(self, *args, states=(), **options):
            self.states = tuple(str(state) for state in states)
            options.setdefault("max_length", 24)
            options["protected"] = True
            super().__init__(*args, **options)

        def get_state(self, instance):
            """This will give the state, at once where the row has it at hand."""
            known = instance.__dict__.get(self.attname)
            return super().get_state(instance) if known is None else known

        def change_state(self, instance, method, *args, **options):
            """This will make the move if django-fsm's table for the method has one from the row's state.

            What our moves do not have (conditions, signals, targets that are computed) costs more than they do.
            """
            state = self.get_state(instance)
            move = method._django_fsm.get_transition(state)
            if move is None:
                said = f"Can't switch from state '{state}' using method '{method.__name__}'"
                raise django_fsm.TransitionNotAllowed(said, object=instance, method=method)
            result = method(instance, *args, **options)
            self.set_state(instance, move.target)
            return result

        def deconstruct(self):
            name, path, args, options = super().deconstruct()
            options.pop("protected", None)
            return name, path, args, options


class StateModel(models.Model):
    """A row with a protected state that can be read again from the database."""

    class Meta:
        abstract = True

    @classmethod
    def at_hand(cls, values: Mapping[str, Any]) -> Self:
        """This will make a row from the columns that are known, to move it: cheaply, as nothing asks for the others.

        A model's own constructor goes through every field and costs more than the decision it serves.
        """
        row = cls.__new__(cls)
        row.__dict__.update(values)
        row._state = ModelState()
        return row

    def refresh_from_db(self, *args: Any, **kwargs: Any) -> None:
        """This will read the row again, its state included."""
        self.__dict__["_state_loading"] = True
        try:
            super().refresh_from_db(*args, **kwargs)
        finally:
            self.__dict__.pop("_state_loading", None)


def moves(move: Move, *, field: str = "state") -> Callable[[Callable[P, R]], Callable[P, R]]:
    """This will make a method the row's side of one legal move of the engine's table."""
    return cast(
        "Callable[[Callable[P, R]], Callable[P, R]]",
        django_fsm.transition(field=field, source=[str(s) for s in move.source], target=str(move.target)),
    )


def states_check(*, name: str, states: Any, field: str = "state") -> models.CheckConstraint:
    """This will make the CHECK constraint that lets a state column hold nothing but its states."""
    return models.CheckConstraint(condition=is_one_of(states, field=field), name=name)


def is_one_of(states: Any, *, field: str = "state") -> models.Q:
    """This will make the condition that a row is in one of the states, for constraints and indexes.

    Not `state__in`: SQLite builds a table in memory for such a list, for each row that it writes.
    """
    return reduce(or_, (models.Q(**{field: str(state)}) for state in states))


if TYPE_CHECKING:

    class JsonText(models.Field[Any, Any]):
        """A JSON value, kept as compact text."""

else:

    class JsonText(models.TextField):
        """A JSON value, kept as compact text.

        Not jsonb: that reorders keys, rewrites numbers and refuses what SQLite takes, so the two databases would
        differ;
        and nothing here is searched by its inside.
        """

        def from_db_value(self, value: str | None, expression: Any, connection: Any) -> Any:
            """This will give the value that the text stands for; an empty text is null."""
            return json.loads(value) if value else None

        def get_prep_value(self, value: Any) -> str | None:
            """This will give the text that is stored."""
            return None if value is None else dump(value)

        def value_to_string(self, obj: models.Model) -> str:
            """This will give the text for a fixture."""
            return dump(self.value_from_object(obj))

        def to_python(self, value: Any) -> Any:
            """This will leave values alone: texts are values, too."""
            return value


if TYPE_CHECKING:

    class ByteText(models.CharField[Any, Any]):
        """A text that compares by its bytes, on both databases alike."""

else:

    class ByteText(models.CharField):
        """A text that compares by its bytes, on both databases alike, so that an index knows where a prefix begins.

        SQLite does so by itself.
        """

        def db_parameters(self, connection):
            """This will ask PostgreSQL for the collation in which bytes count."""
            found = super().db_parameters(connection)
            return {**found, "collation": "C"} if connection.vendor == "postgresql" else found


@models.UUIDField.register_lookup
class Among(In):
    """`id__among=rows`: as `in`, but the rows are always asked for first.

    PostgreSQL guesses how many they are from columns that it takes for independent, and may rather look at all others.
    """

    lookup_name = "among"

    def get_rhs_op(self, connection: BaseDatabaseWrapper, rhs: str) -> str:
        """This will give the comparison with what is in the parentheses."""
        return f"= ANY (ARRAY{rhs})" if connection.vendor == "postgresql" else super().get_rhs_op(connection, rhs)


def dump(value: Any) -> str:
    """This will write JSON as it is stored and sent: compact, in the order it came, as plain Unicode."""
    return _encoder.encode(value)


_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
