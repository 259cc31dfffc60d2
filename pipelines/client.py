"""KFP's API, as far as runs and schedules need it.

    client = connect(endpoint, namespace)
    version = client.version("dgr-align", text)             # uploaded once for equal content
    run = client.start(version, "nano-7f3a", arguments, experiment="dgr")
    for state in client.follow(run.id): ...

Every call waits for a KFP that is away for a while, and what is created is created once, whatever
answer was lost on the way. Tokens and certificates come from the environment, as kfp reads it:
KFP_EXISTING_TOKEN, KF_PIPELINES_SA_TOKEN_PATH, SSL_CERT_FILE, and a kubeconfig where no endpoint
is named. None of them is ever printed.
"""

import contextlib
import io
import json
import logging
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from dgr.errors import MissingExtra, UserError

ENDPOINT_ENVS = ("KF_PIPELINES_ENDPOINT", "KFP_ENDPOINT")
TOKEN_ENV = "KFP_EXISTING_TOKEN"
TOKEN_FILE_ENV = "KF_PIPELINES_SA_TOKEN_PATH"
CERTIFICATE_ENVS = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
PATIENCE = 60.0
"""Seconds for which a call is tried again while KFP is away."""
FIRST_WAIT, LONGEST_WAIT = 1.0, 15.0
POLL_SECONDS = 10.0
TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and to wait for an answer."""
PAGE = 100
FINAL = frozenset({"SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"})
_EQUALS = 1

FoundT = TypeVar("FoundT")


@dataclass(frozen=True)
class Version:
    """A version of a pipeline at KFP."""

    pipeline_id: str
    id: str
    name: str


@dataclass(frozen=True)
class Task:
    """One task of a run."""

    id: str
    name: str
    state: str
    error: str | None = None
    pods: tuple[str, ...] = ()
    """Pods of the task, tried again or not; their logs go when the cluster removes them."""


@dataclass(frozen=True)
class Run:
    """A run at KFP."""

    id: str
    name: str
    state: str
    url: str
    place: str | None = None
    """s3://bucket/prefix that holds the steps, report and decision."""
    created: datetime | None = None
    finished: datetime | None = None
    error: str | None = None
    tasks: tuple[Task, ...] = field(default=(), repr=False)

    @property
    def is_final(self) -> bool:
        return self.state in FINAL


@dataclass(frozen=True)
class Schedule:
    """A recurring run at KFP."""

    id: str
    name: str
    cron: str
    enabled: bool
    url: str


def connect(endpoint: str | None = None, namespace: str | None = None) -> "Client":
    """A client of the KFP at `endpoint`, of the environment's, or of the kubeconfig's cluster."""
    endpoint = endpoint or next(filter(None, map(os.environ.get, ENDPOINT_ENVS)), None)
    try:
        import kfp
        from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials
    except ImportError:
        raise MissingExtra("kfp", "kfp") from None
    in_file = os.environ.get(TOKEN_FILE_ENV) is not None
    certificate = next(filter(None, map(os.environ.get, CERTIFICATE_ENVS)), None)

    class Patient(kfp.Client):  # type: ignore[misc]
        """The constructor asks for KFP's health: with our timeouts and patience, and sentences."""

        health: Any = None

        def get_kfp_healthz(self, sleep_duration: int = 5) -> Any:
            if self.health is None:
                api, host = self._healthz_api.api_client, _shown(self._existing_config.host)
                _limit(api)
                self.health = patiently(host, self._healthz_api.healthz_service_get_healthz)
                _check_is_kfp(host, api.last_response.data)
            return self.health

    with _quiet():
        client = Patient(
            host=endpoint,
            existing_token=os.environ.get(TOKEN_ENV),
            credentials=ServiceAccountTokenVolumeCredentials() if in_file else None,
            ssl_ca_cert=certificate,
        )
        several = client.get_kfp_healthz().multi_user
    if several and not namespace:
        raise UserError(
            f"KFP at {_shown(client._existing_config.host)} serves several users; name your "
            "namespace: cluster.namespace or --namespace"
        )
    return Client(client, namespace)


class Client:
    """What dgr asks of KFP. Raises `UserError` alone."""

    def __init__(self, kfp_client: Any, namespace: str | None) -> None:
        self._kfp, self.namespace = kfp_client, namespace
        self.host = _shown(kfp_client._existing_config.host)
        self._ui = (os.environ.get("KF_PIPELINES_UI_ENDPOINT") or self.host).rstrip("/")

    def version(self, name: str, text: str, version_name: str) -> Version:
        """The version of pipeline `name` that holds `text`; uploaded where it is not there yet."""
        pipeline_id = self._pipeline(name)

        def find() -> Any:
            call = self._kfp.list_pipeline_versions
            by_name = _filter("display_name", version_name)
            return first(self._pages(call, "pipeline_versions", pipeline_id, filter=by_name))

        def create() -> Any:
            with tempfile.TemporaryDirectory() as scratch:
                package = Path(scratch) / "pipeline.yaml"
                package.write_text(text)
                return self._kfp.upload_pipeline_version(
                    str(package), version_name, pipeline_id=pipeline_id
                )

        found = self._once(find, create)
        return Version(pipeline_id, found.pipeline_version_id, version_name)

    def _pipeline(self, name: str) -> str:
        from kfp_server_api import V2beta1Pipeline

        def find() -> Any:
            named = {"namespace": self.namespace, "filter": _filter("display_name", name)}
            return first(self._pages(self._kfp.list_pipelines, "pipelines", **named))

        def create() -> Any:
            pipeline = V2beta1Pipeline(display_name=name, name=name, namespace=self.namespace)
            return self._kfp.pipelines.pipeline_service_create_pipeline(pipeline)

        return str(self._once(find, create).pipeline_id)

    def start(
        self,
        version: Version,
        name: str,
        arguments: dict[str, Any],
        *,
        experiment: str,
        pipeline_root: str | None = None,
        service_account: str | None = None,
    ) -> Run:
        """Start a run. `name` is its own: by it a run is found again whose answer was lost."""
        experiment_id = self._experiment(experiment)

        def find() -> Any:
            named = {"experiment_id": experiment_id, "filter": _filter("display_name", name)}
            return first(self._pages(self._kfp.list_runs, "runs", **named))

        def create() -> Any:
            return self._kfp.run_pipeline(
                experiment_id,
                name,
                params=arguments,
                pipeline_id=version.pipeline_id,
                version_id=version.id,
                pipeline_root=pipeline_root,
                service_account=service_account,
            )

        return self._run(self._once(find, create))

    def run(self, which: str) -> Run:
        """A run by its id or name; the newest of that name."""
        if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", which):
            return self._run(self._call(lambda: self._kfp.get_run(which)))
        found = first(self.runs(filter=_filter("display_name", which)))
        if found is None:
            raise UserError(f"KFP at {self.host} has no run {which}; see `dgr runs list`")
        return self.run(found.id)

    def runs(self, *, experiment: str | None = None, filter: str | None = None) -> Iterator[Run]:
        """Runs, the newest first."""
        named: dict[str, Any] = {"sort_by": "created_at desc", "filter": filter}
        if experiment is None:
            named["namespace"] = self.namespace
        else:
            found = self._find_experiment(experiment)
            if found is None:
                return
            named["experiment_id"] = found.experiment_id
        yield from map(self._run, self._pages(self._kfp.list_runs, "runs", **named))

    def cancel(self, run: Run) -> None:
        if run.is_final:
            raise UserError(f"run {run.name} has ended already ({run.state})")
        self._call(lambda: self._kfp.terminate_run(run.id))

    def follow(self, run_id: str, poll_seconds: float | None = None) -> Iterator[Run]:
        """The run whenever it or one of its tasks has another state, to its end."""
        before = None
        while True:
            run = self._run(self._call(lambda: self._kfp.get_run(run_id)))
            now = (run.state, run.tasks)
            if now != before:
                yield run
            if run.is_final:
                return
            before = now
            time.sleep(POLL_SECONDS if poll_seconds is None else poll_seconds)

    def schedule(
        self,
        version: Version,
        name: str,
        cron: str,
        arguments: dict[str, Any],
        *,
        experiment: str,
        pipeline_root: str | None = None,
        service_account: str | None = None,
    ) -> Schedule:
        """Run a pipeline again and again: never two at once, and no run for a time gone by."""
        experiment_id = self._experiment(experiment)
        taken = next((True for found in self.schedules() if found.name == name), False)
        if taken:
            raise UserError(f"there is a schedule {name} already; delete it or choose another name")

        def find() -> Any:
            return next((found for found in self._recurring() if found.display_name == name), None)

        def create() -> Any:
            return self._kfp.create_recurring_run(
                experiment_id,
                name,
                cron_expression=cron,
                max_concurrency=1,
                no_catchup=True,
                params=arguments,
                pipeline_id=version.pipeline_id,
                version_id=version.id,
                pipeline_root=pipeline_root,
                service_account=service_account,
            )

        return self._schedule(self._once(find, create))

    def schedules(self) -> Iterator[Schedule]:
        yield from map(self._schedule, self._recurring())

    def find_schedule(self, which: str) -> Schedule:
        """A schedule by its id or name."""
        for found in self.schedules():
            if which in (found.id, found.name):
                return found
        raise UserError(f"KFP at {self.host} has no schedule {which}; see `dgr schedule list`")

    def pause(self, schedule: Schedule) -> None:
        self._call(lambda: self._kfp.disable_recurring_run(schedule.id))

    def resume(self, schedule: Schedule) -> None:
        self._call(lambda: self._kfp.enable_recurring_run(schedule.id))

    def delete(self, schedule: Schedule) -> None:
        self._call(lambda: self._kfp.delete_recurring_run(schedule.id))

    def _recurring(self) -> Iterator[Any]:
        call = self._kfp.list_recurring_runs
        return self._pages(call, "recurring_runs", namespace=self.namespace)

    def _experiment(self, name: str) -> str:
        """The experiment's id; it is made where it is not there."""

        def create() -> Any:
            return self._kfp.create_experiment(name, namespace=self.namespace)

        return str(self._once(lambda: self._find_experiment(name), create).experiment_id)

    def _find_experiment(self, name: str) -> Any:
        named = {"namespace": self.namespace, "filter": _filter("display_name", name)}
        return first(self._pages(self._kfp.list_experiments, "experiments", **named))

    def _once(self, find: Callable[[], Any], create: Callable[[], Any]) -> Any:
        """What `find` finds, else what `create` makes: looked for again before it is made again."""
        return self._call(lambda: find() or create(), again=(409,))

    def _pages(
        self, call: Callable[..., Any], items: str, *args: Any, **named: Any
    ) -> Iterator[Any]:
        """Every item of a list, page after page."""
        token = ""
        while True:
            page = self._call(partial(call, *args, page_token=token, page_size=PAGE, **named))
            yield from getattr(page, items) or ()
            token = page.next_page_token
            if not token:
                return

    def _call(self, work: Callable[[], FoundT], again: tuple[int, ...] = ()) -> FoundT:
        def quietly() -> FoundT:
            with _quiet():
                return work()

        return patiently(self.host, quietly, again)

    def _run(self, found: Any) -> Run:
        details = found.run_details.task_details if found.run_details else None
        return Run(
            id=found.run_id,
            name=found.display_name or found.run_id,
            state=found.state or "PENDING",
            url=f"{self._ui}/#/runs/details/{found.run_id}",
            place=_place(found.runtime_config.parameters if found.runtime_config else None),
            created=found.created_at,
            finished=found.finished_at if found.state in FINAL else None,
            error=found.error.message if found.error else None,
            tasks=tuple(map(_task, details or ())),
        )

    def _schedule(self, found: Any) -> Schedule:
        cron = found.trigger.cron_schedule if found.trigger else None
        return Schedule(
            id=found.recurring_run_id,
            name=found.display_name or found.recurring_run_id,
            cron=cron.cron if cron else "",
            enabled=found.status == "ENABLED",
            url=f"{self._ui}/#/recurringrun/details/{found.recurring_run_id}",
        )


def patiently(host: str, work: Callable[[], FoundT], again: tuple[int, ...] = ()) -> FoundT:
    """Do work that may be done twice, again and again while KFP is away; `again`: more statuses."""
    end, wait = time.monotonic() + PATIENCE, FIRST_WAIT
    while True:
        try:
            return _told(host, work, again)
        except _Away as away:
            if time.monotonic() + wait > end:
                raise UserError(str(away)) from None
            print(f"dgr: {away}; trying again", file=sys.stderr, flush=True)
        time.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)


class _Away(Exception):
    """KFP does not answer as it should right now."""


def _told(host: str, work: Callable[[], FoundT], again: tuple[int, ...]) -> FoundT:
    """Do work once; what kfp raises becomes one sentence."""
    from kfp_server_api import ApiException
    from urllib3.exceptions import HTTPError

    try:
        return work()
    except ApiException as error:
        sentence = f"KFP at {host} {_answer(error)}"
        if error.status in (429, *again) or error.status >= 500:
            raise _Away(sentence) from None
        raise UserError(sentence) from None
    except HTTPError as error:
        why = re.sub(r"<[^>]*>|HTTPS?ConnectionPool\([^)]*\): ", "", str(error))
        raise _Away(
            f"KFP at {host} does not answer ({_short(why)}); "
            "check cluster.endpoint or KF_PIPELINES_ENDPOINT"
        ) from None
    except OSError as error:  # a token's or certificate's file
        raise UserError(f"cannot reach KFP at {host}: {_short(str(error))}") from None


def _answer(error: Any) -> str:
    if error.status in (401, 403):
        return (
            f"refuses this ({error.status}); set {TOKEN_ENV} to a valid token, or ask for the right"
        )
    if not error.status:
        return f"cannot be trusted: {_short(str(error.reason))}"
    try:
        body = json.loads(error.body or "")
        why = str(body.get("message") or body.get("error") or body)
    except (ValueError, AttributeError):
        why = str(error.reason)
    return f"answered {error.status}: {_short(why)}"


def _short(text: str) -> str:
    return " ".join(text.split())[:300]


def _shown(host: str) -> str:
    """A URL without the password that it may hold."""
    return re.sub(r"//[^/@\s]*@", "//", host)


def _check_is_kfp(host: str, answer: str) -> None:
    """kfp takes a page of HTML for an answer that holds nothing."""
    try:
        json.loads(answer)
    except ValueError:
        raise UserError(
            f"{host} answers, but not as KFP does; is it a login page? Set {TOKEN_ENV} to a token"
        ) from None


def _limit(api_client: Any) -> None:
    """Give every request a timeout: kfp sets none."""
    rest = api_client.rest_client
    request = rest.request

    def limited(*args: Any, **named: Any) -> Any:
        return request(*args, **{**named, "_request_timeout": TIMEOUT})

    rest.request = limited


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """kfp prints links, warns and logs; what is worth telling, we tell."""
    before = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


def first(found: Iterator[FoundT]) -> FoundT | None:
    return next(found, None)


def _filter(key: str, value: str) -> str:
    predicate = {"operation": _EQUALS, "key": key, "stringValue": value}
    return json.dumps({"predicates": [predicate]})


def _place(parameters: dict[str, Any] | None) -> str | None:
    """Where a run or study of ours publishes; None for a run of another pipeline."""
    told = parameters or {}
    try:
        return str(json.loads(told.get("finish_settings") or told["study_settings"])["run"])
    except (KeyError, TypeError, ValueError):
        return None


def _task(found: Any) -> Task:
    executor = found.executor_detail
    pods = [found.pod_name, executor.main_job if executor else None]
    pods += [child.pod_name for child in found.child_tasks or ()]
    return Task(
        id=found.task_id,
        name=found.display_name or found.task_id,
        state=found.state or "PENDING",
        error=found.error.message if found.error else None,
        pods=tuple(dict.fromkeys(filter(None, pods))),
    )
