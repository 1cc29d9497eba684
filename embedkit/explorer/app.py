"""The explorer's application: which address is answered by what."""

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from embedkit.audits.reviews import review_of
from embedkit.audits.ticks import Answer, reviews_csv, tick, ticks
from embedkit.errors import EmbedkitError, InputError, UnreadableImageError
from embedkit.explorer import answers
from embedkit.explorer.benches import Bench
from embedkit.explorer.doors import Doors, Keys, cookie_name
from embedkit.explorer.jobs import Jobs, Waiting
from embedkit.explorer.pictures import LARGE, SMALL, picture
from embedkit.explorer.states import PEOPLE, ChangedError, State, Watch
from embedkit.reports.pages import asset, template

STATIC = {
    "explorer.js": ("embedkit.explorer", "text/javascript"),
    "explorer.css": ("embedkit.explorer", "text/css"),
    "map.js": ("embedkit.reports", "text/javascript"),
    "map.css": ("embedkit.reports", "text/css"),
    "style.css": ("embedkit.reports", "text/css"),
}


class Explorer:
    """One run of the explorer over one store.

    Attributes:
        keys: its secrets.
        port: that it listens on; known once it does.
        app: the application.
    """

    def __init__(self, watch: Watch) -> None:
        self.keys = Keys()
        self.port = 0
        self._watch = watch
        self._jobs = Jobs()
        self._bench = Bench(watch.newest())
        at = "/at/{stamp}"
        answering = Starlette(
            routes=[
                Route("/", self._page),
                Route("/files/{name}", self._file),
                Route(f"{at}/pictures", self._pictures),
                Route(f"{at}/rows", self._rows),
                Route(f"{at}/some", self._some),
                Route(f"{at}/map", self._map),
                Route(f"{at}/picture/{{row}}", self._picture),
                Route(f"{at}/facts/{{row}}", self._facts),
                Route(f"{at}/near/{{row}}", self._near),
                Route(f"{at}/like", self._like, methods=["POST"]),
                Route(f"{at}/text", self._text),
                Route(f"{at}/card/{{row}}", self._card),
                Route(f"{at}/clusters/{{kind}}", self._clusters),
                Route(f"{at}/finding/{{name}}", self._finding),
                Route(f"{at}/tick/{{name}}/{{number}}", self._tick, methods=["POST"]),
                Route(f"{at}/reviews.csv", self._reviews),
            ],
            exception_handlers={
                ChangedError: _failed(409),
                UnreadableImageError: _failed(404),
                InputError: _failed(422),
                EmbedkitError: _failed(409),
                HTTPException: _refused,
                ClientDisconnect: _failed(413),
            },
        )
        # An address with one '/' too many is answered like any other that leads nowhere.
        answering.router.redirect_slashes = False
        # Around all of it, so that what fails inside is sealed too.
        self.app = Doors(answering, keys=self.keys, port=lambda: self.port)

    def close(self) -> None:
        """Let no more work begin."""
        self._jobs.close()

    def _page(self, request: Request) -> Response:
        state = self._watch.newest()
        data = answers.start(state) | {"writing": self.keys.writing}
        page = template("explorer.html", package="embedkit.explorer")
        shown = page.render(data=data, name=state.store.name)
        response = HTMLResponse(shown.encode(errors="backslashreplace"))
        response.set_cookie(
            cookie_name(self.port), self.keys.cookie, httponly=True, samesite="strict"
        )
        return response

    def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in STATIC:
            raise HTTPException(404)
        package, kind = STATIC[name]
        return Response(asset(name, package=package), media_type=kind)

    def _pictures(self, request: Request) -> Response:
        state, offset = self._state(request), _number(request.query_params.get("offset", "0"))
        rows = answers.passing(state, self._filters(request))
        return _answer(answers.pictures(state, rows, offset=offset))

    def _rows(self, request: Request) -> Response:
        return _answer({"rows": answers.passing(self._state(request), self._filters(request))})

    def _some(self, request: Request) -> Response:
        state = self._state(request)
        rows = [_number(one) for one in request.query_params.get("rows", "").split(",")]
        if max(rows) >= len(state.ids):
            raise HTTPException(404)
        return _answer(answers.pictures(state, rows, offset=0))

    def _map(self, request: Request) -> Response:
        state = self._state(request)
        return _job(self._jobs.ask((state.stamp, "map"), self._of(state).map))

    def _filters(self, request: Request) -> answers.Filters:
        asked = request.query_params
        return answers.Filters(
            split=asked.get("split"),
            label=asked.get("label"),
            attribute=asked.get("attribute"),
            value=asked.get("value"),
            finding=asked.get("finding"),
            text=asked.get("text", ""),
        )

    def _picture(self, request: Request) -> Response:
        state, row = self._row(request)
        side = LARGE if request.query_params.get("size") == "large" else SMALL
        try:
            return Response(picture(state, row, side), media_type="image/jpeg")
        except UnreadableImageError as error:
            return Response(_placeholder(str(error)), 404, media_type="image/svg+xml")

    def _facts(self, request: Request) -> Response:
        return _answer(answers.picture_facts(*self._row(request)))

    def _near(self, request: Request) -> Response:
        state, row = self._row(request)
        return _answer(answers.neighbours(state, self._of(state).near(row)))

    async def _like(self, request: Request) -> Response:
        return await run_in_threadpool(self._likes, request, await request.body())

    def _likes(self, request: Request, data: bytes) -> Response:
        state = self._state(request)
        return _answer(answers.neighbours(state, self._of(state).like(data)))

    def _text(self, request: Request) -> Response:
        state, prompt = self._state(request), request.query_params.get("text", "").strip()
        if not prompt:
            raise InputError("there is no text to search for")
        return _answer(answers.neighbours(state, self._of(state).text(prompt[:1000])))

    def _card(self, request: Request) -> Response:
        state, row = self._row(request)
        bench = self._of(state)
        return _job(self._jobs.ask((state.stamp, "card", row), lambda _: bench.card(row)))

    def _clusters(self, request: Request) -> Response:
        offset = _number(request.query_params.get("offset", "0"))
        state, kind = self._state(request), request.path_params["kind"]
        found: Any = state.clusters.get(kind)
        if found is None and kind == PEOPLE and state.by_faces:
            bench = self._of(state)
            found = self._jobs.ask((state.stamp, kind), lambda _: bench.people())
        if found is None:
            raise InputError(f"there are no clusters of {kind!r}")
        if isinstance(found, Waiting):
            return _job(found)
        return _answer(answers.cluster_list(state, found, offset=offset))

    def _finding(self, request: Request) -> Response:
        asked = request.query_params
        return _answer(
            answers.finding_list(
                self._state(request),
                request.path_params["name"],
                kind=asked.get("kind"),
                sample=asked.get("sample") == "yes",
                offset=_number(asked.get("offset", "0")),
            )
        )

    async def _tick(self, request: Request) -> Response:
        return await run_in_threadpool(self._ticked, request, await request.body())

    def _ticked(self, request: Request, body: bytes) -> Response:
        state = self._state(request)
        claims = state.claims.get(request.path_params["name"], ())
        number = _number(request.path_params["number"])
        if number >= len(claims):
            raise HTTPException(404)
        tick(state.store, claims[number], _answer_in(body))
        return _answer({"reviewed": review_of(claims, ticks(state.store)).to_dict()})

    def _reviews(self, request: Request) -> Response:
        state = self._state(request)
        return Response(
            reviews_csv(ticks(state.store)),
            media_type="text/csv",
            headers={"Content-Disposition": 'attachment; filename="reviews.csv"'},
        )

    def _state(self, request: Request) -> State:
        return self._watch.current(request.path_params["stamp"])

    def _row(self, request: Request) -> tuple[State, int]:
        state, row = self._state(request), _number(request.path_params["row"])
        if row >= len(state.ids):
            raise HTTPException(404)
        return state, row

    def _of(self, state: State) -> Bench:
        """Return what was made for a state; that of an earlier one is dropped."""
        if self._bench.state is not state:
            self._jobs.forget()
            self._bench = Bench(state)
        return self._bench


def _answer(document: dict[str, Any], status: int = 200) -> Response:
    # ASCII, because a label may hold what is no Unicode; and NaN is no JSON.
    text = json.dumps(document, allow_nan=False)
    return Response(text, status, media_type="application/json")


def _job(found: Any) -> Response:
    if isinstance(found, Waiting):
        return _answer(asdict(found), 202)
    return _answer(found)


def _failed(status: int) -> Callable[[Request, Exception], Response]:
    def handler(request: Request, error: Exception) -> Response:
        changed = isinstance(error, ChangedError)
        return _answer({"error": str(error) or type(error).__name__, "changed": changed}, status)

    return handler


def _refused(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 400
    return _answer({"error": str(error), "changed": False}, status)


def _number(given: str) -> int:
    """Read a whole number that is not negative.

    Raises:
        HTTPException: it is none.
    """
    if not (given.isascii() and given.isdigit() and len(given) < 10):
        raise HTTPException(404)
    return int(given)


def _answer_in(body: bytes) -> Answer | None:
    """Read what somebody ticked.

    Raises:
        InputError: it is none of the answers.
    """
    try:
        given = json.loads(body[:200])["answer"]
        return None if given is None else Answer(given)
    except (ValueError, KeyError, TypeError):
        known = ", ".join(repr(one.value) for one in Answer)
        raise InputError(f"an answer is one of {known}, or null to take it back") from None


def _placeholder(reason: str) -> str:
    """Return a drawing that says why there is no picture."""
    words = "".join(one if one.isalnum() or one in " :,.()" else " " for one in reason)[:60]
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 160 160" width="160" height="160">'
        '<rect width="160" height="160" fill="#d5dbe1"/>'
        '<g fill="#1c2430" text-anchor="middle" font-family="sans-serif">'
        '<text x="80" y="76" font-size="16">no picture</text>'
        f'<text x="80" y="98" font-size="9">{words}</text></g></svg>'
    )
