"""What a workflow does, stated a second time from the outside contract alone: the oracle of the engine.

`step(template, state, ask, at)` takes a template as published (plain JSON), a state, what is asked and when; it gives
the next state, the answer (`applied`, `duplicate`, `nothing`, or the code of a refusal) and the messages to be sent.
It knows no events, log, rows or counters: joins are looked up, not counted, and whatever follows from a change is
worked out from the state as it stands (`follow`). That makes it slow, and easy to believe. Asked is a dict with `do`:
    start                                  [context, by]                                      [...]: may be missing
    started, completed, failed, pending    stage, task, [attempt, event_id, compensation, output, error, final, reason]
    awaits, signal                         name; a step that waits also says stage, task
    claim, release, reassign, decide       stage, task, by, groups, [operator, compensation, to, outcome, data, comment]
    skip, complete, fail, replay           stage, task, [output, reason]; replay also of a stage alone
    suspend, resume, cancel, rollback
    due                                    what (retry, timeout, instance), [stage, task, attempt, compensation]
"""

from tests.model.conditions import holds

Key = tuple[str, str]
GOING_ON, GOING_BACK = ("RUNNING", "FAILED", "SUSPENDED"), ("ROLLING_BACK", "ROLLBACK_FAILED")
ENDED, FOREVER = ("COMPLETED", "ROLLED_BACK", "CANCELLED"), float("inf")
UNDER_WAY, OPEN_STAGE = ("SCHEDULED", "STARTED", "WAITING"), ("PENDING", "ACTIVE")
BEING_UNDONE = ("COMPENSATING", "COMPENSATION_FAILED")
ONCE = {"max_attempts": 1, "delay_seconds": 0, "backoff": 2.0, "max_delay_seconds": 3600, "jitter": True}
KNOWN_KEYS = """task_name task_type parent_task task_queue assigned_to business_status title description form outcomes
    due_in_seconds escalate_to four_eyes quorum retry timeout_seconds on_failure compensate when step""".split()  # noqa: SIM905
# A job is the running of a task or its undoing: both have attempts, rounds of retries, a time-out, somebody at work.
NEW_JOB = {"attempt": 0, "live": False, "failures": 0, "result": None, "retry_at": None, "again": False,
           "timeout_at": FOREVER, "claimed_by": None, "assigned_to": None, "awaits": None, "error": None}  # fmt: skip
NEW_TASK = {"state": "PENDING", "output": None, "outcome": None, "withdrawn": False, "run": NEW_JOB, "undo": NEW_JOB,
            "completed": None, "undoing": None}  # fmt: skip


class Answer(Exception):
    """This input changes nothing; the code says why."""


def step(template: dict, state: dict | None, ask: dict, at: float) -> tuple[dict | None, str, tuple[dict, ...]]:
    if (ask["do"] == "start") == (state is not None):
        return state, "duplicate" if state else "unknown_instance", ()
    work = _Work(template, state or _before_the_start(template, ask, at), at)
    try:
        work.take(ask)
    except Answer as answer:
        return state, str(answer), ()
    return work.now, "applied", tuple(work.sent)


def _before_the_start(template: dict, ask: dict, at: float) -> dict:
    stages = sorted(template["stages"], key=lambda stage: stage["stage_order"])
    return {"state": "RUNNING", "business_status": None, "context": ask.get("context") or {}, "by": ask.get("by"),
            "timed_out": False, "ends_by": at + template.get("timeout_seconds", FOREVER), "applied": {}, "signals": {},
            "completions": 0, "deciders": (), "stages": {stage["stage_name"]: "PENDING" for stage in stages},
            "tasks": {(s["stage_name"], t["task_name"]): NEW_TASK for s in stages for t in s.get("tasks", ())}}  # fmt: skip


def _refuse(code: str, *, when: object) -> None:
    if when:
        raise Answer(code)


class _Work:
    def __init__(self, template: dict, state: dict, at: float) -> None:
        self.template, self.at, self.sent = template, at, []
        self.plan = {(s["stage_name"], t["task_name"]): t for s in template["stages"] for t in s.get("tasks", ())}
        self.tasks = {key: {**t, "run": {**t["run"]}, "undo": {**t["undo"]}} for key, t in state["tasks"].items()}
        self.stages = {**state["stages"]}
        self.now: dict = {**state, "stages": self.stages, "tasks": self.tasks}

    def take(self, ask: dict) -> None:
        known = ask.get("event_id") and self.now["applied"].get(ask["event_id"])
        _refuse("duplicate" if known == ask else "event_id_reused", when=known)
        _refuse("unknown_task", when=ask.get("task") and (ask["stage"], ask["task"]) not in self.plan)
        _refuse("unknown_task", when=ask.get("stage") and ask["stage"] not in self.stages)
        self.ASKED[ask["do"]](self, ask)
        self.now["applied"] = {**self.now["applied"], ask.get("event_id"): ask}
        self.follow()

    def job(self, ask: dict, *, undoing: bool = False) -> tuple[Key, dict, dict]:
        """The task that is meant, and its running or its undoing."""
        task = self.tasks[ask["stage"], ask["task"]]
        return (ask["stage"], ask["task"]), task, task["undo" if undoing or ask.get("compensation") else "run"]

    def check_attempt(self, ask: dict, job: dict) -> None:
        attempt = job["attempt"] if ask.get("attempt") is None else ask["attempt"]
        _refuse("stale_attempt" if attempt < job["attempt"] else "unknown_attempt", when=attempt != job["attempt"])

    def check_turn(self, task: dict, job: dict) -> None:
        _refuse("instance_closed", when=self.now["state"] in ENDED)
        _refuse("not_its_turn", when=job["attempt"] == 0 if job is task["undo"] else task["state"] == "PENDING")

    def result(self, ask: dict) -> None:
        """A result's way, judged in the order of the contract."""
        key, task, job = self.job(ask)
        self.check_attempt(ask, job)
        _refuse("duplicate", when=job["result"] == ask["do"])
        self.check_turn(task, job)
        late = self.now["state"] in GOING_BACK and job is task["run"] and ask["do"] == "completed" and task["withdrawn"]
        _refuse("attempt_closed", when=not job["live"] and not (late and "compensate" in self.plan[key]))
        match ask["do"]:
            case "started" if task["state"] == "SCHEDULED":
                task["state"] = "STARTED"
            case "completed":
                self.done_with(key, job, ask.get("output"))
            case "failed":
                self.fail_attempt(key, job, ask.get("error"), may_retry=not ask.get("final"))
            case "awaits":
                job["awaits"], task["state"] = ask["name"], "WAITING"

    def signal(self, ask: dict) -> None:
        by_steps = any("step" in task.get("compensate", {}) for task in self.plan.values())
        self.allow(*GOING_ON, *(GOING_BACK if by_steps else ()))
        self.now["signals"] = {**self.now["signals"], ask["name"]: self.now["signals"].get(ask["name"], 0) + 1}

    def pending(self, ask: dict) -> None:
        """`TaskPending`, an operator's retry (with a reason): the next attempt at once. A nudge begins no new round."""
        state = self.tasks[ask["stage"], ask["task"]]["state"]
        key, task, job = self.job(ask, undoing=state == "COMPENSATION_FAILED")
        undoing = job is task["undo"]
        if not undoing or ask.get("compensation"):  # Else `attempt` counts the task's own attempts.
            self.check_attempt(ask, job)
        _refuse("instance_suspended", when=self.now["state"] == "SUSPENDED" and not undoing)
        self.check_turn(task, job)
        again = state in BEING_UNDONE if undoing else state in UNDER_WAY or self.stuck(key)
        _refuse("attempt_closed", when=not again)
        if state in ("FAILED", "COMPENSATION_FAILED") or (
            state in ("WAITING", "COMPENSATING") and ask.get("reason") and not job["live"]
        ):
            job["failures"] = 0
        self.now["state"] = "ROLLING_BACK" if undoing else self.now["state"]
        self.begin(key, job)

    def person(self, ask: dict) -> None:
        """Claim, give back, give away, decide: first who may, then whether there is anything to be done."""
        key, task, job = self.job(ask)
        spec, do, holder, operator = self.spec(key, job), ask["do"], job["claimed_by"], ask.get("operator")
        _refuse(
            "unknown_task", when=not (spec.get("assigned_to") if job is task["undo"] else spec["task_type"] == "HUMAN")
        )
        theirs = do != "reassign" and job["assigned_to"] in (ask["by"], *ask["groups"])
        _refuse("permission_denied", when=not theirs and not (operator and do in ("release", "reassign")))
        others = {who for who, what in self.now["deciders"] if what != key} | {self.now["by"]}
        _refuse("four_eyes", when=do in ("claim", "decide") and spec.get("four_eyes") and ask["by"] in others)
        _refuse("instance_closed", when=self.now["state"] in ENDED)
        _refuse("attempt_closed", when=not job["live"] or ask.get("attempt") not in (None, job["attempt"]))
        _refuse("already_claimed", when=do in ("claim", "decide") and holder not in (None, ask["by"]))
        if do == "decide":
            self.decide(ask, key, job, spec)
            return
        _refuse("nothing", when=do == "claim" and holder)
        _refuse("not_claimed", when=do == "release" and not holder)
        _refuse("permission_denied", when=do == "release" and holder != ask["by"] and not operator)
        job.update(claimed_by=ask["by"] if do == "claim" else None, assigned_to=ask.get("to") or job["assigned_to"])
        if job is task["run"]:
            task["state"] = "STARTED" if job["claimed_by"] else "SCHEDULED"

    def decide(self, ask: dict, key: Key, job: dict, spec: dict) -> None:
        outcomes = {outcome["name"]: outcome for outcome in spec.get("outcomes") or [{"name": "complete"}]}
        outcome = outcomes[ask.get("outcome") or "complete"]
        effect = outcome.get("effect", "complete")
        _refuse("instance_suspended", when=effect == "return" and self.now["state"] == "SUSPENDED")
        job["claimed_by"] = ask["by"]
        self.now["deciders"] += ((ask["by"], key),)
        if effect == "complete":
            self.done_with(key, job, ask.get("data"))
        elif effect == "fail":
            self.fail_attempt(key, job, {"code": outcome["name"], "message": ask.get("comment")}, may_retry=False)
        else:
            job["live"] = False
            stage, _, name = outcome["return_to"].rpartition("/")
            self.run_again(stage or key[0], {(stage or key[0], name)})
        if job is self.tasks[key]["run"]:
            self.tasks[key]["outcome"] = outcome["name"]

    def by_hand(self, ask: dict) -> None:
        """Skip, complete or fail: the task leaves the hands that hold it."""
        undoing = self.tasks[ask["stage"], ask["task"]]["state"] in BEING_UNDONE
        key, task, job = self.job(ask, undoing=undoing)
        self.allow(*GOING_ON, *(GOING_BACK if ask["do"] != "fail" and undoing else ()))
        self.check_turn(task, job)
        stuck = ask["do"] != "fail" and (undoing or self.stuck(key))
        _refuse("attempt_closed", when=task["state"] not in UNDER_WAY and not stuck)
        self.withdraw(key, job)
        accepted = job["result"]  # What a person does by hand is no result: one that comes now is late, no duplicate.
        match ask["do"]:
            case "fail":
                error = {"code": "failed_by_operator", "message": ask.get("reason")}
                self.fail_attempt(key, job, error, may_retry=False)
            case "skip" if undoing:
                self.undone(key, "COMPLETED")
            case "skip":
                task["state"] = "SKIPPED"
            case "complete":
                self.done_with(key, job, ask.get("output"))
        job["result"] = accepted

    def instance(self, ask: dict) -> None:
        """Suspend, resume, cancel, roll back. To resume what took too long is to accept that."""
        overdue = self.now["state"] == "FAILED" and self.now["timed_out"]
        match ask["do"]:
            case "suspend":
                self.allow("RUNNING", "FAILED")
                self.now["state"] = "SUSPENDED"
            case "resume":
                self.allow("SUSPENDED", *(("FAILED",) if overdue else ()))
                self.now.update(state="RUNNING", timed_out=False)
                for key, task in self.tasks.items():  # What fell due takes effect now.
                    job = task["run"]
                    if not overdue and job["live"] and job["timeout_at"] <= self.at:
                        self.fail_attempt(key, job, {"code": "timeout"})
                    if job["retry_at"]:
                        task["state"], job["again"] = "WAITING", job["retry_at"][1] <= self.at
                    elif task["state"] == "FAILED" and self.policy(key) == "rollback":
                        break
                if self.now["ends_by"] <= self.at:
                    self.time_out_instance()
            case _:
                self.allow(*GOING_ON)
                self.close_everything("CANCELLED" if ask["do"] == "cancel" else "ROLLING_BACK")

    def replay(self, ask: dict) -> None:
        stage, name = ask["stage"], ask.get("task")
        _refuse("instance_suspended", when=self.now["state"] == "SUSPENDED")
        self.allow("RUNNING", "FAILED", "COMPLETED")
        _refuse("not_its_turn", when=(self.tasks[stage, name]["state"] if name else self.stages[stage]) == "PENDING")
        _refuse("wrong_state", when=name and not self.done((stage, name)))
        self.run_again(stage, {key for key in self.plan if key[0] == stage and key[1] == (name or key[1])})

    def allow(self, *states: str) -> None:
        state = self.now["state"]
        _refuse("instance_closed" if state in ENDED else "wrong_state", when=state not in states)

    def due(self, ask: dict) -> None:
        """A suspended instance takes notice when it is resumed; what is no longer waited for is nothing."""
        _refuse("nothing", when=self.now["state"] in (*ENDED, "SUSPENDED"))
        if ask["what"] == "instance":
            _refuse("nothing", when=self.now["state"] in GOING_BACK or self.at < self.now["ends_by"])
            self.time_out_instance()
            return
        key, _, job = self.job(ask)
        when = job["timeout_at"] if ask["what"] == "timeout" else (job["retry_at"] or (FOREVER,))[0]
        waited_for = job["attempt"] == ask["attempt"] and job["live"] == (ask["what"] == "timeout")
        _refuse("nothing", when=not waited_for or self.at < when)
        if ask["what"] == "timeout":
            self.fail_attempt(key, job, {"code": "timeout"})
        else:
            job["again"] = True

    def time_out_instance(self) -> None:
        self.now.update(ends_by=FOREVER, timed_out=True)
        if self.template.get("on_failure") == "rollback":
            self.close_everything("ROLLING_BACK")

    def spec(self, key: Key, job: dict) -> dict:
        """What the template says of a running, or of an undoing."""
        return self.plan[key].get("compensate") or {} if job is self.tasks[key]["undo"] else self.plan[key]

    def begin(self, key: Key, job: dict) -> None:
        """The next attempt of the task, or of its undoing."""
        task, spec = self.tasks[key], self.spec(key, job)
        job.update(NEW_JOB, attempt=job["attempt"] + 1, failures=job["failures"], error=job["error"], live=True,
                   timeout_at=self.at + spec.get("timeout_seconds", FOREVER), assigned_to=spec.get("assigned_to"))  # fmt: skip
        running = {"state": "SCHEDULED", "output": None, "outcome": None}
        task.update(running if job is task["run"] else {"state": "COMPENSATING"})
        self.send("StartTask" if job is task["run"] else "CompensateTask", key, job)

    def done_with(self, key: Key, job: dict, output: dict | None) -> None:
        task = self.tasks[key]
        job.update(live=False, awaits=None, retry_at=None, error=None, result="completed")
        if job is task["undo"]:
            self.undone(key, "COMPENSATED")
            return
        self.now["completions"] += 1
        task.update(output=output, outcome=None, withdrawn=False)
        task["completed"] = (self.now["completions"], job["attempt"], output)
        task["state"] = task["state"] if task["state"] in BEING_UNDONE else "COMPLETED"
        self.now["context"] = {**self.now["context"], **(output or {})}
        if self.plan[key].get("business_status") is not None and self.now["state"] not in GOING_BACK:
            self.now["business_status"] = self.plan[key]["business_status"]

    def undone(self, key: Key, state: str) -> None:
        task, self.now["state"] = self.tasks[key], "ROLLING_BACK"
        task["undo"]["error"] = None
        task.update(state=state, completed=None if task["completed"] == task["undoing"] else task["completed"])

    def fail_attempt(self, key: Key, job: dict, error: dict | None, may_retry: bool = True) -> None:
        task, policy = self.tasks[key], {**ONCE, **(self.spec(key, job).get("retry") or {})}
        job.update(live=False, awaits=None, failures=job["failures"] + 1, result="failed",
                   error={name: (error or {}).get(name) for name in ("code", "message", "details")})  # fmt: skip
        task["state"] = "COMPENSATION_FAILED" if job is task["undo"] else "FAILED"
        if may_retry and job["failures"] < policy["max_attempts"]:
            delay = policy["delay_seconds"] * policy["backoff"] ** (job["failures"] - 1)
            delay = min(delay, policy["max_delay_seconds"])
            job.update(
                retry_at=(self.at + (delay / 2 if policy["jitter"] else delay), self.at + delay), again=not delay
            )
            task["state"] = {"SUSPENDED": "FAILED", "ROLLING_BACK": "COMPENSATING"}.get(self.now["state"], "WAITING")
        elif job is task["undo"]:
            self.now["state"] = "ROLLBACK_FAILED"

    def withdraw(self, key: Key, job: dict) -> None:
        self.send("CancelTask", key, job)
        job.update(live=False, awaits=None, retry_at=None, again=False)

    def send(self, name: str, key: Key, job: dict) -> None:
        """Write a message down, if the attempt is live and its queue is named."""
        spec = self.spec(key, job)
        if spec.get("task_queue") and job["live"]:
            extra = {k: value for k, value in {**self.plan[key], **spec}.items() if k not in KNOWN_KEYS}
            if job is self.tasks[key]["undo"]:
                _, extra["undoes_attempt"], extra["output"] = self.tasks[key]["undoing"]
            extra |= {"event_name": name, "queue": spec["task_queue"], "stage_name": key[0], "task_name": key[1],
                      "task_type": self.plan[key]["task_type"], "attempt": job["attempt"], "context": self.now["context"]}  # fmt: skip
            self.sent.append(extra)

    def follow(self) -> None:
        """Do all that the state as it stands asks for. Nothing does while the instance is suspended."""
        if self.now["state"] in ("RUNNING", "FAILED"):
            doomed = any(self.stuck(key) and self.policy(key) == "rollback" for key in self.plan)
            self.close_everything("ROLLING_BACK") if doomed else self.advance()
        if self.now["state"] == "ROLLING_BACK":
            self.roll_back_further()

    def advance(self) -> None:
        while stage := next((name for name, state in self.stages.items() if state in OPEN_STAGE), None):
            self.stages[stage], context = "ACTIVE", self.now["context"]
            keys = [key for key in self.plan if key[0] == stage]
            left_out = [k for k in keys if self.its_turn(k) and not holds(self.plan[k].get("when", True), context)]
            for key in left_out:
                self.tasks[key]["state"] = "SKIPPED"
            if all(self.done(key) for key in keys):
                all_skipped = keys and all(self.tasks[key]["state"] == "SKIPPED" for key in keys)
                self.stages[stage] = "SKIPPED" if all_skipped else "COMPLETED"
            elif not left_out:
                break
        for key, task in self.tasks.items():
            if kept := self.now["signals"].get(task["run"]["awaits"], 0):
                self.now["signals"] = {**self.now["signals"], task["run"]["awaits"]: kept - 1}
                task["state"], task["run"]["awaits"] = "SCHEDULED", None
            if (task["state"] == "WAITING" and task["run"]["again"]) or (key[0] == stage and self.its_turn(key)):
                self.begin(key, task["run"])
        broken = self.now["timed_out"] or any(self.stuck(key) for key in self.plan)
        self.now["state"] = "FAILED" if broken else "RUNNING"
        if stage is None:
            self.now.update(state="COMPLETED", timed_out=False, ends_by=FOREVER)

    def its_turn(self, key: Key) -> bool:
        parents = [(key[0], name) for name in self.plan[key].get("parent_task", ())]
        return self.tasks[key]["state"] == "PENDING" and all(self.done(parent) for parent in parents)

    def done(self, key: Key) -> bool:
        state, spent = self.tasks[key]["state"], self.tasks[key]["run"]["retry_at"] is None
        return state in ("COMPLETED", "SKIPPED") or (state == "FAILED" and spent and self.policy(key) == "continue")

    def stuck(self, key: Key) -> bool:
        """FAILED under `halt`; and, as long as a suspension keeps its policy from being followed, under `rollback`."""
        return self.tasks[key]["state"] == "FAILED" and not self.done(key) and self.now["state"] not in GOING_BACK

    def policy(self, key: Key) -> str:
        return self.plan[key].get("on_failure") or self.template.get("on_failure") or "halt"

    def run_again(self, stage: str, keys: set[Key]) -> None:
        """Set back those tasks, what comes after them in the stage, and all later stages."""
        while (
            more := {k for k in self.plan if {(k[0], it) for it in self.plan[k].get("parent_task", ())} & keys} - keys
        ):
            keys |= more
        later = list(self.stages)[list(self.stages).index(stage) + 1 :]
        for key, task in self.tasks.items():
            if key in keys or key[0] in later:
                self.withdraw(key, task["run"])
                task["state"] = "PENDING"
                task["run"].update(failures=0, claimed_by=None)
        self.stages.update({stage: "ACTIVE", **dict.fromkeys(later, "PENDING")})
        self.now["state"] = "RUNNING"

    def close_everything(self, state: str) -> None:
        """Cancel, or begin to roll back: whatever is open is withdrawn."""
        for key, task in self.tasks.items():
            task["withdrawn"] = task["run"]["live"]
            self.withdraw(key, task["run"])
            task["state"] = task["state"] if task["state"] in ("COMPLETED", "SKIPPED", "FAILED") else "CANCELLED"
        self.stages.update({name: "CANCELLED" for name, it in self.stages.items() if it in OPEN_STAGE})
        self.now["state"] = state

    def roll_back_further(self) -> None:
        """One compensation at a time, the newest completion first."""
        under_way = [key for key, task in self.tasks.items() if task["state"] == "COMPENSATING"]
        left = [key for key, task in self.tasks.items() if task["completed"] and "compensate" in self.plan[key]]
        for key in (key for key in under_way if self.tasks[key]["undo"]["again"]):
            self.begin(key, self.tasks[key]["undo"])
        if not under_way and left:
            task = self.tasks[newest := max(left, key=lambda key: self.tasks[key]["completed"][0])]
            task["undoing"], task["undo"]["failures"] = task["completed"], 0
            self.begin(newest, task["undo"])
        self.now["state"] = "ROLLING_BACK" if under_way or left else "ROLLED_BACK"

    ASKED = {"start": lambda self, ask: None, "started": result, "completed": result, "failed": result, "awaits": result,
             "pending": pending, "signal": signal, "claim": person, "release": person, "reassign": person,
             "decide": person, "skip": by_hand, "complete": by_hand, "fail": by_hand, "replay": replay, "due": due,
             "suspend": instance, "resume": instance, "cancel": instance, "rollback": instance}  # fmt: skip
