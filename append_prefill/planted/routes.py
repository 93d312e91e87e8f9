"""Which path answers what: the endpoints of one SGLang version, over the parts that serve them."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from append_prefill.engines.versions import MODEL_INFO_PATHS, SERVER_INFO_PATHS
from append_prefill.planted import info
from append_prefill.planted.faults import Faults
from append_prefill.planted.generate import CHAT_PATH, GENERATE_PATH, Answerer
from append_prefill.planted.protocol import RequestError, Settings, error_body
from append_prefill.planted.reading import read_json
from append_prefill.planted.scheduler import Scheduler
from append_prefill.planted.wire import Connection, Request

_HEALTH = ("/health", "/health_generate")
_OPEN_SESSION, _CLOSE_SESSION = "/open_session", "/close_session"
_READ, _WRITE, _EITHER = ("GET",), ("POST", "PUT"), ("GET", "POST")


def _names_of(own: str, newest_first: Sequence[str]) -> Sequence[str]:
    """A version's own name of an endpoint and the older ones, which go on."""
    return newest_first[newest_first.index(own) :]


@dataclass(frozen=True, slots=True)
class Launch:
    """What server info says of this launch."""

    host: str
    port: int
    start_seed: int
    prefill_graph: bool


class Routes:
    """Answers one request after another, on whatever thread brings it.

    `is_ready` says whether the server is; `launch` what server info tells of it; `say` takes a line
    of the log.
    """

    def __init__(
        self,
        answerer: Answerer,
        scheduler: Scheduler,
        faults: Faults,
        settings: Settings,
        *,
        is_ready: Callable[[], bool],
        launch: Callable[[], Launch],
        say: Callable[[str], None],
    ) -> None:
        self._answerer = answerer
        self._scheduler = scheduler
        self._faults = faults
        self._settings = settings
        self._is_ready = is_ready
        self._launch = launch
        self._say = say
        traits = settings.traits
        self._model_paths = _names_of(traits.model_info_path, MODEL_INFO_PATHS)
        self._server_paths = _names_of(traits.server_info_path, SERVER_INFO_PATHS)
        self._methods: dict[str, tuple[str, ...]] = {
            **dict.fromkeys((*_HEALTH, *self._model_paths, *self._server_paths), _READ),
            GENERATE_PATH: _WRITE,
            CHAT_PATH: ("POST",),
            **dict.fromkeys(("/flush_cache", "/freeze_gc", _OPEN_SESSION, _CLOSE_SESSION), _EITHER),
        }

    def answer(self, request: Request, connection: Connection) -> None:
        """Answer one request. Raises OSError where the connection breaks."""
        path = request.path
        methods = self._methods.get(path)
        if not (path in _HEALTH or self._authorised(request)):
            connection.answer_json(HTTPStatus.UNAUTHORIZED, {"error": "Unauthorized"})
        elif methods is None:
            connection.answer_json(HTTPStatus.NOT_FOUND, {"detail": "Not Found"})
        elif request.method not in methods:
            connection.answer_json(HTTPStatus.METHOD_NOT_ALLOWED, {"detail": "Method Not Allowed"})
        elif path in _HEALTH:
            self._health(request, connection)
        elif path in (GENERATE_PATH, CHAT_PATH):
            if self._is_ready():
                self._answerer.answer(request, connection)
            else:
                connection.answer(HTTPStatus.SERVICE_UNAVAILABLE)
        elif path in (_OPEN_SESSION, _CLOSE_SESSION):
            self._session(request, connection)
        elif path == "/flush_cache":
            self._flush(request, connection)
        elif path == "/freeze_gc":
            self._say("froze the garbage collector")
            connection.answer(HTTPStatus.OK, b"Garbage collection frozen.\n")
        else:
            self._info(path, connection)

    def _authorised(self, request: Request) -> bool:
        if self._settings.api_key is None:
            return True
        given = request.headers.get("authorization", "")
        return hmac.compare_digest(given.encode(), f"Bearer {self._settings.api_key}".encode())

    def _health(self, request: Request, connection: Connection) -> None:
        if self._is_ready():
            self._answerer.probe(request)
            connection.answer(HTTPStatus.OK)
        else:
            connection.answer(HTTPStatus.SERVICE_UNAVAILABLE)

    def _session(self, request: Request, connection: Connection) -> None:
        try:
            body = read_json(request.body)
            if request.path == _OPEN_SESSION:
                connection.answer_json(HTTPStatus.OK, self._answerer.sessions.open(body))
            else:
                self._answerer.sessions.close(body)
                connection.answer(HTTPStatus.OK)
        except RequestError as error:
            refused = error_body(str(error), self._settings)
            connection.answer_json(HTTPStatus.BAD_REQUEST, refused)

    def _flush(self, request: Request, connection: Connection) -> None:
        # A version that cannot wait ignores the parameter; what is no number is FastAPI's 422.
        timeout_s = 0.0
        can_wait = self._settings.traits.flush_timeout_param
        if can_wait and "timeout" in request.query:
            try:
                timeout_s = float(request.query["timeout"])
            except ValueError:
                connection.answer(HTTPStatus.UNPROCESSABLE_ENTITY)
                return
        flushed = self._scheduler.flush(timeout_s)
        if flushed:
            self._answerer.sessions.forget_kv()
        text = info.FLUSHED_TEXT if flushed or not can_wait else "Flush cache failed.\n"
        status = HTTPStatus.OK if flushed else HTTPStatus.BAD_REQUEST
        connection.answer(status, text.encode())

    def _info(self, path: str, connection: Connection) -> None:
        if path in self._model_paths:
            connection.answer_json(HTTPStatus.OK, info.model_info(self._settings))
        elif self._faults.info == "html":
            page = b"<!doctype html><html><title>Welcome</title></html>"
            connection.answer(HTTPStatus.OK, page, content_type="text/html")
        elif self._faults.info == "list":
            connection.answer_json(HTTPStatus.OK, [])
        else:
            said, launch = self._faults.says_version, self._launch()
            body = info.server_info(
                self._settings,
                host=launch.host,
                port=launch.port,
                start_seed=launch.start_seed,
                prefill_graph=launch.prefill_graph,
                radix_cache=not self._faults.radix_off,
                version=self._settings.sglang_version if said is None else said,
            )
            connection.answer_json(HTTPStatus.OK, body)
