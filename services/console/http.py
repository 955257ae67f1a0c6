"""The addresses of the console, and what a page says when something is refused."""

from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.console.pages import applications, front, keys, resources, tokens, users
from services.console.pages.log import LogPages
from services.console.pages.site import Action, Endpoint, Page, Site
from shared.errors import Refusal
from shared.telemetry import course_of, logger

_log = logger(__name__)


def application(site: Site, base: str, most_followers: int) -> Starlette:
    """Everything below the console's address."""
    path = urlsplit(base).path
    first = front.Front(site)
    log = LogPages(site, most_followers)
    pages: dict[str, Page] = {"": first.overview, "/": first.overview, "/log": log.page, "/log/explain": log.explain,
             "/log/live": log.live, "/log/events": log.events}  # fmt: skip
    actions: dict[str, tuple[Action, str]] = {front.SIGN_OUT: (first.sign_out, "/")}
    for more_pages, more_actions in (_applications(site), _resources(site), _users(site), _tokens(site)):
        pages |= more_pages
        actions |= more_actions

    async def static(request: Request) -> Response:
        found = site.pages.static(request.path_params["name"])
        if found is None:
            raise HTTPException(404)
        return found

    routes = [Route(f"{path}{at}", _both(site, at, pages.get(at), actions.get(at)), methods=methods)
              for at in {**pages, **actions}
              if (methods := [*(["GET"] if at in pages else []), *(["POST"] if at in actions else [])])]  # fmt: skip
    routes += [
        Route(f"{path}/callback", first.callback, methods=["GET"]),
        Route(f"{path}/signed-out", first.signed_out, methods=["GET"]),
        Route(f"{path}/static/{{name}}", static, methods=["GET"]),
    ]
    for route in routes:
        # A page may begin a sign-in, so nobody has one answered only to look at its head.
        route.methods = (route.methods or set()) - {"HEAD"}

    async def on_refusal(request: Request, failure: Exception) -> Response:
        if not isinstance(failure, Refusal):
            raise TypeError("a handler of refusals")
        return site.refused(request, site.who(request), failure)

    async def on_http_exception(request: Request, failure: Exception) -> Response:
        if not isinstance(failure, HTTPException):
            raise TypeError("a handler of the router's answers")
        missing = failure.status_code == 404
        heading = "There is no such page" if missing else "This did not work"
        text = "Perhaps it was moved, or mistyped." if missing else "This address cannot be opened in this way."
        way = "Go to the first page", site.pages.path("/")
        status, headers = failure.status_code, failure.headers
        return site.failure(request, site.who(request), status, heading, text, way=way, headers=headers)

    async def on_failure(request: Request, failure: Exception) -> Response:
        _log.error("http_failed", path=request.scope["path"][:200], course=course_of(failure))
        request.scope["stagedoor.failed"] = True
        text = "Something went wrong on our side. If it happens once more, the reference below finds it in the log."
        return site.failure(request, site.who(request), 500, "This did not work", text, code="server_error")

    handlers = {Refusal: on_refusal, HTTPException: on_http_exception, Exception: on_failure}
    return Starlette(routes=routes, exception_handlers=handlers)


_Addresses = tuple[dict[str, Page], dict[str, tuple[Action, str]]]
"""Pages and actions by their paths; of an action also where whoever cannot send it begins anew."""


def _applications(site: Site) -> _Addresses:
    those = applications.Applications(site)
    pages: dict[str, Page] = {
        "/applications": those.list,
        "/applications/show": those.show,
        applications.REGISTER: those.register_form,
        applications.CHANGE: those.change_form,
    }
    actions: dict[str, Action] = {
        applications.REGISTER: those.register,
        applications.CHANGE: those.change,
        applications.DISABLE: those.disable,
        applications.ENABLE: those.enable,
        applications.UNINSTALL: those.uninstall,
        applications.ADD_SECRET: those.add_secret,
        applications.REVOKE_SECRET: those.revoke_secret,
    }
    return pages, _back_to("/applications", actions)


def _resources(site: Site) -> _Addresses:
    those = resources.Resources(site)
    pages: dict[str, Page] = {
        "/resources": those.list,
        "/resources/show": those.show,
        resources.REGISTER: those.register_form,
        resources.CHANGE: those.change_form,
    }
    actions: dict[str, Action] = {
        resources.REGISTER: those.register,
        resources.CHANGE: those.change,
        resources.REMOVE: those.remove,
    }
    return pages, _back_to("/resources", actions)


def _users(site: Site) -> _Addresses:
    those = users.Users(site)
    pages: dict[str, Page] = {
        "/users": those.list,
        "/users/show": those.show,
        users.ADD: those.add_form,
        users.CHANGE: those.change_form,
    }
    actions: dict[str, Action] = {
        users.FIND: those.find,
        users.ADD: those.add,
        users.CHANGE: those.change,
        users.DISABLE: those.disable,
        users.ENABLE: those.enable,
        users.ERASE: those.erase,
        users.RESET_PASSWORD: those.reset_password,
        users.RESET_SECOND_FACTOR: those.reset_second_factor,
        users.END_SESSION: those.end_session,
    }
    return pages, _back_to("/users", actions)


def _tokens(site: Site) -> _Addresses:
    those, the_keys = tokens.Tokens(site), keys.Keys(site)
    pages: dict[str, Page] = {
        "/tokens": those.page,
        "/grants": those.grants,
        "/references": those.references,
        "/keys": the_keys.list,
    }
    actions: dict[str, Action] = {
        tokens.LOOK: those.look,
        tokens.REVOKE: those.revoke,
        tokens.END_GRANT: those.end_grant,
        tokens.REVOKE_REFERENCE: those.revoke_reference,
    }
    of_keys: dict[str, Action] = {keys.ROTATE: the_keys.rotate, keys.COMPROMISE: the_keys.compromise}
    return pages, _back_to("/tokens", actions) | _back_to("/keys", of_keys)


def _back_to(page: str, actions: dict[str, Action]) -> dict[str, tuple[Action, str]]:
    return {path: (action, page) for path, action in actions.items()}


def _both(site: Site, path: str, page: Page | None, action: tuple[Action, str] | None) -> Endpoint:
    """One route for both methods, so that a refusal of another method names both (RFC 9110 section 10.2.1)."""
    get = None if page is None else site.page(page)
    post = None if action is None else site.action(path, *action)

    async def answer(request: Request) -> Response:
        chosen = get if request.method == "GET" else post
        if chosen is None:
            raise HTTPException(405)
        return await chosen(request)

    return answer
