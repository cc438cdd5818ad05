"""The way of every request: who, what, which version, which parameters, which body; then one call, then the answer."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers
from rest_framework import exceptions
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from workflows import failpoints, tracecontext
from workflows.api import bodies, etags, idempotency, parameters, problems, watching
from workflows.api.calls import Call, Document
from workflows.api.permissions import EVERYBODY, RULES, Rule, roles_of
from workflows.api.problems import Problem
from workflows.conf import settings
from workflows.models import Person, person_of
from workflows.models.fields import dump
from workflows.runtime import pausing
from workflows.runtime.asking import Answer
from workflows.runtime.reading import moment
from workflows.runtime.tokens import Caller
from workflows.tracecontext import TraceContext

__all__ = ["ApiView", "answer", "moment", "problem_of", "read_id", "refusal"]

log = logging.getLogger("workflows.api")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_CHALLENGE = 'Bearer realm="orchestrator"'
_JSON = ("*/*", "application/*", "application/json", problems.MEDIA_TYPE)


class ApiView(APIView):
    """A route of the API. Subclasses say what they take (`calls`), find their object (`look_up`) and answer.

    The order of judgement is the contract's: 401, then 404 and 403, then 412, then 400, and what the engine says last.
    """

    calls: ClassVar[Mapping[str, Call]] = {}
    accepts: ClassVar[Sequence[str]] = _JSON
    permission_classes = ()  # the table in `permissions`, judged by `_judge`

    person: Person
    request_id: str
    trace: TraceContext | None
    query: dict[str, Any]
    body: Any

    # --- What subclasses fill in ---------------------------------------------------------------------------------

    def look_up(self) -> None:
        """This will find what the address names, among what the caller may see; raises Problem (404) otherwise."""

    def tag(self) -> str | None:
        """This will give the current ETag of what the address names."""
        return None

    # --- The way of a request ------------------------------------------------------------------------------------

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """This will answer the request, whatever happens."""
        started = time.perf_counter()
        self.args, self.kwargs = args, kwargs
        given = request.headers.get("X-Request-Id", "")
        self.request_id = given if _REQUEST_ID.match(given) else uuid.uuid4().hex
        self.trace = tracecontext.from_headers(request.headers)
        match = request.resolver_match
        self.route = (match.url_name if match else None) or "nothing"
        self._raw: bytes | None = None
        self.request = self.initialize_request(request, *args, **kwargs)
        try:
            response = self._answer(self.request)
        except Exception as error:
            response = self.handle_exception(error)
        response.headers.setdefault("X-Request-Id", self.request_id)
        response.headers.setdefault("Cache-Control", "private, no-cache")
        patch_vary_headers(response, ("Authorization", "Cookie"))
        watching.tell(self.route, request.method or "", response.status_code, time.perf_counter() - started)
        return response

    def _answer(self, request: Request) -> HttpResponse:
        method = "GET" if request.method == "HEAD" else str(request.method)
        rule = self._let_in(request, method)
        key = request.headers.get("Idempotency-Key")
        if method != "POST" or key is None or self.open:
            return self._judge(request, method, rule)
        return idempotency.once(
            caller=self.person.username,
            key=key,
            print_of=idempotency.fingerprint(method=method, path=request.get_full_path(), body=self.raw_body()),
            answer=lambda: self._judged(request, method, rule),
        )

    def _judged(self, request: Request, method: str, rule: Rule) -> HttpResponse:
        # A refusal is an answer, too, and is kept with its key.
        try:
            return self._judge(request, method, rule)
        except Exception as error:
            return self.handle_exception(error)

    def _let_in(self, request: Request, method: str) -> Rule:
        rule = RULES.get(self.route, {}).get(method)
        self.open = rule is not None and (rule.keyed or (rule.public and settings.DEMO))
        if not self.open:
            self.perform_authentication(request)
            if not request.user.is_authenticated:
                raise exceptions.NotAuthenticated
            self.person = request.user.person if isinstance(request.user, Caller) else person_of(request.user)
        _check_accept(request, self.accepts)
        if self.route == "nothing":
            raise _nothing(request)
        if rule is None:
            raise exceptions.MethodNotAllowed(method)
        scopes = request.auth.scopes if not self.open and isinstance(request.auth, Caller) else None
        if scopes and rule.scope is not None and rule.scope not in scopes:
            limit = ", ".join(scopes)
            raise Problem("permission_denied", f"This token is limited to {limit}; this needs {rule.scope}.")
        return rule

    def _judge(self, request: Request, method: str, rule: Rule) -> HttpResponse:
        call = self.calls[method]
        failpoints.hit("request_received")
        roles = EVERYBODY if self.open else roles_of(self.person)
        if not roles & rule.sees:
            raise _denied(rule)
        self.look_up()
        if not roles & rule.may:
            raise _denied(rule)
        self.seen = False
        if call.versioned and (tag := self.tag()) is not None:
            self.seen = etags.check_if_match(request._request, tag)
        self.query = parameters.read(request.GET, call.query)
        if method == "GET":
            # Again: the parameters may have picked another version of the thing.
            if call.versioned and (tag := self.tag()) is not None and etags.is_known(request._request, tag):
                return HttpResponse(status=304, headers={"ETag": tag})
            return self.get(request)
        if method != "DELETE":
            self.body = self._read_body(call)
        failpoints.hit("body_parsed")
        response = {"POST": self.post, "PUT": self.put, "DELETE": self.delete}[method](request)
        failpoints.hit("before_answer")
        return response

    def get(self, request: Request) -> HttpResponse:
        """This will answer a GET."""
        raise exceptions.MethodNotAllowed("GET")

    def post(self, request: Request) -> HttpResponse:
        """This will answer a POST."""
        raise exceptions.MethodNotAllowed("POST")

    def put(self, request: Request) -> HttpResponse:
        """This will answer a PUT."""
        raise exceptions.MethodNotAllowed("PUT")

    def delete(self, request: Request) -> HttpResponse:
        """This will answer a DELETE, which takes no body."""
        raise exceptions.MethodNotAllowed("DELETE")

    # --- The body ------------------------------------------------------------------------------------------------

    def raw_body(self) -> bytes:
        """This will read the body once."""
        if self._raw is None:
            self._raw = bodies.raw(self.request._request)
        return self._raw

    def _read_body(self, call: Call) -> Any:
        body = self.raw_body()
        if not body and not isinstance(call.body, Document):
            return bodies.read({}, call.body or ())
        headers = self.request.headers
        if not body and not headers.get("Content-Type"):
            raise Problem("invalid_json", "There is no body. Send JSON.")
        value = bodies.parse(
            body,
            content_type=headers.get("Content-Type", ""),
            content_encoding=headers.get("Content-Encoding", ""),
        )
        return value if isinstance(call.body, Document) else bodies.read(value, call.body or ())

    # --- Errors --------------------------------------------------------------------------------------------------

    def handle_exception(self, exc: Exception) -> HttpResponse:  # type: ignore[override]
        """This will make a problem document of whatever went wrong."""
        problem = problem_of(exc, self)
        if problem.status >= 500 and problem.code != pausing.CODE:
            where = {"request_id": self.request_id}
            log.error("%s %s failed", self.request.method, self.route, exc_info=exc, extra=where)
        return problems.response(problem, request_id=self.request_id)

    def allowed(self) -> str:
        """This will give the methods that the route takes, for the header Allow."""
        methods = list(RULES.get(self.route, {}))
        return ", ".join(["HEAD", *methods] if "GET" in methods else methods)


# --- Answers ------------------------------------------------------------------------------------------------------


def answer(value: Any, *, status: int = 200, tag: str | None = None, location: str | None = None) -> HttpResponse:
    """This will give the answer that says the value."""
    headers = {}
    if tag is not None:
        headers["ETag"] = tag
    if location is not None:
        headers["Location"] = location
    return HttpResponse(dump(value), status=status, content_type="application/json", headers=headers)


def refusal(said: Answer, **members: Any) -> Problem:
    """This will make the problem that says why a command was refused."""
    errors = [
        dict(error) if isinstance(error, Mapping) else problems.fault(error.pointer, error.code, error.message)
        for error in said.errors
    ]
    reason = said.reason or "The state does not allow this."
    if said.code == pausing.CODE:
        return paused(reason)
    return Problem(said.code or "wrong_state", reason, errors=errors, **said.details, **members)


def paused(reason: str) -> Problem:
    """This will say that nothing new starts, and when to ask again."""
    return Problem(pausing.CODE, reason, headers={"Retry-After": str(pausing.RETRY_AFTER)})


def read_id(text: str) -> uuid.UUID:
    """This will read the id in an address; what is none names nothing."""
    try:
        if len(text) != 36:
            raise ValueError
        return uuid.UUID(text)
    except ValueError:
        raise problems.not_found() from None


def problem_of(error: Exception, view: ApiView | None = None) -> Problem:
    """This will say as a problem what an exception means to the caller; what we did not foresee says nothing."""
    match error:
        case Problem():
            return error
        case exceptions.AuthenticationFailed():
            challenge = f'{_CHALLENGE}, error="invalid_token"'
            return Problem("not_authenticated", str(error.detail), headers={"WWW-Authenticate": challenge})
        case exceptions.NotAuthenticated():
            return Problem("not_authenticated", "No credentials were sent.", headers={"WWW-Authenticate": _CHALLENGE})
        case exceptions.PermissionDenied():
            return Problem("permission_denied", str(error.detail))
        case pausing.EnginePaused():
            return paused(str(error))
        case PermissionDenied():
            return Problem("permission_denied", "You may not do this.")
        case exceptions.MethodNotAllowed():
            allowed = view.allowed() if view else ""
            return Problem(
                "method_not_allowed", f"This address takes {allowed or 'nothing'}.", headers={"Allow": allowed}
            )
        case Http404():
            return problems.not_found()
        case exceptions.APIException() if error.status_code == 406:
            return Problem("not_acceptable", str(error.detail))
        case exceptions.APIException() if error.status_code == 415:
            return Problem("unsupported_media_type", str(error.detail))
        case exceptions.ParseError():
            return Problem("invalid_json", str(error.detail))
        case SuspiciousOperation():
            return Problem("invalid_parameter", "The address or its headers cannot be read.")
        case OperationalError() | InterfaceError():
            why = "The database does not answer at the moment. Send it again."
            return Problem("unavailable", why, headers={"Retry-After": "1"})
    return Problem("internal_error", "This is our fault. The log has it under the request id.")


def framework_exception(exc: Exception, context: Mapping[str, Any]) -> Response:
    """This will answer for any other view of the framework (setting EXCEPTION_HANDLER)."""
    problem = problem_of(exc)
    if problem.status >= 500:
        log.error("a view failed", exc_info=exc)
    said = problems.document(problem, request_id=uuid.uuid4().hex)
    return Response(said, status=problem.status, headers=problem.headers, content_type=problems.MEDIA_TYPE)


def _denied(rule: Rule) -> Problem:
    who = ", ".join(sorted(role.replace("_", " ") for role in rule.may))
    return Problem("permission_denied", f"This is for: {who}.")


def _nothing(request: Request) -> Problem:
    hint = "" if request.path.endswith("/") else " Every address here ends with a slash."
    return problems.not_found(f"There is nothing at this address.{hint}")


def _check_accept(request: Request, kinds: Sequence[str]) -> None:
    accept = request.headers.get("Accept")
    if not accept:
        return
    for part in accept.split(","):
        kind, _, options = part.partition(";")
        if kind.strip().lower() in kinds and not re.search(r"(?:^|;)\s*q\s*=\s*0(?:\.0*)?\s*(?:;|$)", options):
            return
    raise Problem("not_acceptable", f"This address answers in {', '.join(kind for kind in kinds if '*' not in kind)}.")
