"""The state machine on moto: its strict parser and its engine, with our handlers behind the Lambda API."""

import io
import json
import os
import re
import socket
import threading
import time
import traceback
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import boto3
import botocore.session
import pytest
from moto import backends
from moto.core.config import default_user_config
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.stepfunctions.parser.api import HistoryEventType, MapRunFailedEventDetails
from moto.stepfunctions.parser.asl.component.common.error_name.error_name import ErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import FailureEvent, FailureEventException
from moto.stepfunctions.parser.asl.component.state.exec.state_map.iteration import distributed_iteration_component
from moto.stepfunctions.parser.asl.component.state.exec.state_map.result_writer.result_writer_decl import ResultWriter
from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils
from moto.stepfunctions.parser.asl.eval.environment import Environment
from moto.stepfunctions.parser.asl.eval.event.event_detail import EventDetails
from moto.stepfunctions.parser.asl.eval.program_state import ProgramStopped
from moto.stepfunctions.parser.asl.utils import json_path
from werkzeug.serving import make_server
from werkzeug.test import run_wsgi_app

from s3 import put_one_by_one

Handler = Callable[[dict[str, Any], object], Any]
Map = distributed_iteration_component.DistributedIterationComponent


FUNCTIONS = ("Initialize", "Infer", "InferLarge", "Script", "Summarize")


def filled(text: str, **values: str) -> str:
    """Return a definition with its placeholders filled in, as CloudFormation does; moto knows no EXPRESS children."""
    known = {f"{name}Function": name for name in FUNCTIONS} | {"ChildExecutionType": "STANDARD"} | values
    return re.sub(r"\$\{(\w+)\}", lambda match: known[match[1]], text)


class DiedError(Exception):
    """How a Lambda ends that is killed: with an error of the runtime's name instead of a class's."""

    def __init__(self, name: str, message: str = "signal: killed") -> None:
        super().__init__(message)
        self.name = name


class Machine:
    """Handlers by function name, what they were called with, and a client of the server that calls them."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.handlers: dict[str, Handler] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.client = boto3.client("stepfunctions", endpoint_url=address, region_name="us-east-1")
        self._number = 0

    def create(self, definition: str) -> str:
        self._number += 1
        role = "arn:aws:iam::123456789012:role/skyfan"
        made = self.client.create_state_machine(name=f"skyfan-{self._number}", definition=definition, roleArn=role)
        return str(made["stateMachineArn"])

    def run(self, arn: str, event: dict[str, Any]) -> dict[str, Any]:
        """Run an execution to its end; return its description."""
        self._number += 1
        name = f"e{self._number}"
        started = self.client.start_execution(stateMachineArn=arn, name=name, input=json.dumps(event))
        until = time.monotonic() + 120
        while time.monotonic() < until:
            found: dict[str, Any] = self.client.describe_execution(executionArn=started["executionArn"])
            if found["status"] != "RUNNING":
                return found
            time.sleep(0.05)
        raise AssertionError("the execution does not end")

    def called(self, function: str) -> int:
        return sum(name == function for name, _ in self.calls)

    def invoke(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        name = urllib.parse.unquote(environ["PATH_INFO"]).split("/functions/")[1].removesuffix("/invocations")
        event = json.loads(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        self.calls.append((name, event))
        headers = [("Content-Type", "application/json")]
        try:
            body = json.dumps(self.handlers[name](event, None))
        except Exception as error:  # noqa: BLE001  as the Lambda runtime does
            kind = error.name if isinstance(error, DiedError) else type(error).__name__
            trace = traceback.format_exc().splitlines()
            body = json.dumps({"errorMessage": str(error), "errorType": kind, "stackTrace": trace})
            headers.append(("X-Amz-Function-Error", "Unhandled"))
        start_response("200 OK", headers)
        return [body.encode()]


class _Keeping(MotoRequestHandler):
    """Keeps a connection for its client's next request, and says nothing; werkzeug makes one anew for each."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the body of an answer waits until its head is acknowledged

    def run_wsgi(self) -> None:
        environ = self.make_environ()
        size = [] if "wsgi.input_terminated" in environ else [int(self.headers.get("Content-Length") or 0)]
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(*size))  # all of it: the next request follows
        content, status, headers = run_wsgi_app(self.server.app, environ, buffered=True)
        body = b"".join(content)
        code, _, words = status.partition(" ")
        self.send_response(int(code), words)
        if "Content-Length" not in headers and self.command != "HEAD":
            headers["Content-Length"] = str(len(body))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_request(self, *args: Any, **kwargs: Any) -> None:
        pass


@contextmanager
def serve() -> Iterator[Machine]:
    """Serve AWS on loopback; yield the state machine's side of it."""
    with socket.socket() as free, pytest.MonkeyPatch.context() as patch:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        patch.setenv("MOTO_PORT", str(port))  # where moto's engine finds moto
        patch.setenv("SF_EXECUTION_HISTORY_TYPE", "SUCCESS")
        patch.setenv("AWS_ACCESS_KEY_ID", "an-id")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
        patch.setitem(default_user_config, "stepfunctions", {"execute_state_machine": True})
        patch.setattr(Map, "_map_run", _counting_failures(Map._map_run))
        patch.setattr(ResultWriter, "_eval_body", _write_results)
        patch.setattr(Environment, "set_error", _unless_stopped(Environment.set_error))
        _hasten(patch)
        put_one_by_one(patch)
        free.close()
        machine = Machine(f"http://127.0.0.1:{port}")
        app = DomainDispatcherApplication(create_backend_app)

        def route(environ: dict[str, Any], start_response: Any) -> Any:
            if environ["PATH_INFO"].endswith("/invocations"):
                return machine.invoke(environ, start_response)
            return app(environ, start_response)

        server = make_server("127.0.0.1", port, route, threaded=True, request_handler=_Keeping)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield machine
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


load_models = cache(botocore.session.create_loader)
"""In the place of boto's own: each session reads anew how AWS's services are spoken to, which takes 0.3 s."""
_parse = cache(json_path.parse)
_make_client = lambda_eval_utils.boto_client_for


@cache
def _client_of(server: str, region: str, service: str) -> Any:
    return _make_client(region, service)


def _client_for(region: str, service: str, state_credentials: Any = None) -> Any:
    return _client_of(os.environ["MOTO_PORT"], region, service)  # two servers may be up


def _hasten(patch: pytest.MonkeyPatch) -> None:
    """Have moto keep what it makes anew for each task: a parser a path, a client a call, its folders a request.

    That is half of what it takes, 60 ms of processor time a task. What boto reads anew for each session is kept too.
    """
    folders = frozenset(backends.list_of_moto_modules())
    patch.setattr(backends, "list_of_moto_modules", lambda: folders)
    patch.setattr(json_path, "parse", _parse)
    patch.setattr(lambda_eval_utils, "boto_client_for", _client_for)
    patch.setattr(botocore.session, "create_loader", load_models)


class _Named(ErrorName):
    """An error of a name that moto's own list does not have."""


def _counting_failures(original: Callable[..., None]) -> Callable[..., None]:
    """Fail the map as AWS does: moto takes no notice of children that fail."""

    def run(self: Any, env: Any, eval_input: Any) -> None:
        before = env.states.get_input()
        original(self, env=env, eval_input=eval_input)
        env.states.reset(before)  # a child that fails leaves its own there
        failed = eval_input.map_run_record.item_counter.describe()["failed"]
        if env.is_running() and failed > (eval_input.tolerated_failure_count or 0):
            error = "States.ExceedToleratedFailureThreshold"
            details = MapRunFailedEventDetails(
                error=error, cause="The specified tolerated failure threshold was exceeded"
            )
            raise FailureEventException(
                FailureEvent(
                    env=env,
                    error_name=_Named(error),
                    event_type=HistoryEventType.MapRunFailed,
                    event_details=EventDetails(mapRunFailedEventDetails=details),
                )
            )

    return run


def _unless_stopped(original: Callable[..., None]) -> Callable[..., None]:
    """Keep an execution that was stopped so, as AWS does: in moto whatever fails afterwards makes it a failed one."""

    def set_error(self: Any, *arguments: Any, **options: Any) -> None:
        if not isinstance(self.program_state(), ProgramStopped):
            original(self, *arguments, **options)

    return set_error


def _write_results(self: Any, env: Any) -> None:
    """Read the writer's paths from the state's input, as AWS does; moto reads them from the map's results."""
    env.stack.append(env.states.get_input())
    self.parargs.eval(env=env)
    where = env.stack.pop()
    env.stack[-1] = where
    self.resource_eval.eval_resource(env=env)
