"""Asking the server for MLflow's client, in bounded time.

MLflow's own REST client retries for minutes, which is right for one that has nowhere else
to put the data. Here everything that is written is safe already, so a question that no
server answers is told so at once.
"""

from __future__ import annotations

import json
from abc import update_abstractmethods
from collections.abc import Callable
from functools import wraps
from typing import Any, Final, TypeVar

from mlflow.exceptions import MlflowException
from mlflow.store.tracking.rest_store import RestStore
from mlflow.utils.proto_json_utils import parse_dict
from mlflow.utils.rest_utils import MlflowHostCreds, http_request, verify_rest_response

from tracker import config
from tracker.credentials import key_for
from tracker.mlflow.addresses import Server
from tracker.mlflow.errors import Unreachable

# A search over a large store takes a second; a server that needs ten is as good as gone.
ANSWER_TIMEOUT_S: Final = 10
_RETRIES: Final = 1

_OURS: Final = "tracker.mlflow."
_Store = TypeVar("_Store")


class AskingStore(RestStore):  # type: ignore[misc]  # mlflow has no types
    """MLflow's REST store over our server's MLflow API, without its minutes of patience."""

    def __init__(self, server: Server) -> None:
        self.server = server
        super().__init__(self._host_creds)

    def _host_creds(self) -> MlflowHostCreds:
        address = self.server.address()
        if address is None:
            raise Unreachable(self.server.name(), "it was looked for a moment ago")
        settings = config.client_settings()
        key = settings.api_key or key_for(settings.home, address)
        return MlflowHostCreds(host=address, token=key)

    def _call_endpoint(
        self,
        api: Any,
        json_body: str | None = None,
        endpoint: str | None = None,
        retry_timeout_seconds: Any = None,
        response_proto: Any = None,
    ) -> Any:
        v3_apis = getattr(self, "_V3_APIS", ())
        methods = self._V3_METHOD_TO_INFO if api in v3_apis else self._METHOD_TO_INFO
        default_endpoint, method = methods[api]
        creds = self._host_creds()
        body = json.loads(json_body) if json_body is not None else None
        try:
            response = http_request(
                host_creds=creds,
                endpoint=endpoint or default_endpoint,
                method=method,
                max_retries=_RETRIES,
                backoff_factor=0,
                backoff_jitter=0,
                timeout=ANSWER_TIMEOUT_S,
                raise_on_status=False,
                **{"params" if method == "GET" else "json": body},
            )
        except MlflowException as error:
            # http_request wraps what went wrong below HTTP, the address included.
            self.server.is_gone()
            raise Unreachable(creds.host, _reason(error)) from error
        if response.status_code in (502, 503, 504):
            raise Unreachable(creds.host, f"HTTP {response.status_code}")
        answer = verify_rest_response(response, endpoint or default_endpoint)
        found = response_proto or api.Response()
        parse_dict(json.loads(answer.text or "{}"), found)
        return found


def forwarding(store: type[_Store]) -> type[_Store]:
    """Let `store.rest` answer what MLflow's REST store can and `store` does not say itself."""
    for name, method in vars(RestStore).items():
        if name.startswith("_") or not callable(method) or _says_itself(store, name):
            continue
        setattr(store, name, _forwarded(name, method))
    return update_abstractmethods(store)


def _says_itself(store: type, name: str) -> bool:
    return any(name in vars(base) for base in store.__mro__ if base.__module__.startswith(_OURS))


def _forwarded(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def ask(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.rest, name)(*args, **kwargs)

    return ask


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]  # not None here
    return f"{type(error).__name__}: {error}"[:200]
