"""`autotrain app`: serve the pages of the app on this machine."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotrain_llm.checks.rules.app import NOT_SERVED, PACKAGES_OF_THE_APP
from autotrain_llm.cli.outcome import DONE, ended, refuse
from autotrain_llm.cli.screen import Screen
from autotrain_llm.cli.terminal import fit_to
from autotrain_llm.context.machine import Machine
from autotrain_llm.declare.convert import FALSE, TRUE
from autotrain_llm.declare.finding import Finding
from autotrain_llm.declare.record import Record

if TYPE_CHECKING:
    from autotrain_llm.app.folders import Folders

FIRST_PORT, PORTS_TRIED = 8420, 20
LOOPBACK = ("127.0.0.1", "localhost", "::1")
FORMATS = ("text", "json")
SWITCHES = {"--no-browser": "browser", "--dry-run": "dry_run"}
PACKAGES = ("starlette", "uvicorn", "jinja2")
USAGE = """\
usage: autotrain app [--port N] [--no-browser] [--host ADDRESS] [FOLDER...]
       compose, start, follow, compare and try runs in a browser on this machine
       FOLDER        folders that it reads and writes in [default: this one]; a relative path begins in the first
       --port        [default: the first free one from 8420]
       --no-browser  prints the address, and opens nothing
       --host        the address to listen on [default: 127.0.0.1, which no other machine reaches]
       --dry-run     checks this command, and serves nothing"""
STOPPED = "Stopped. Runs that were started go on."


class Options(Record):
    """The parsed words of the command."""

    folders: tuple[str, ...] = ()
    port: int | None = None
    host: str = LOOPBACK[0]
    browser: bool = True
    dry_run: bool = False
    json: bool = False
    findings: tuple[Finding, ...] = ()


def app(words: Sequence[str]) -> int:
    """Carry out the words after `autotrain app` and return the exit status."""
    options = read_options(words)
    with Screen(options.json) as screen:
        return ended(lambda: _answer(options, screen), screen, STOPPED)


def read_options(words: Sequence[str]) -> Options:
    """Parse flags and folders; what can't be read becomes findings."""
    folders: list[str] = []
    faults: list[Finding] = []
    values: dict[str, Any] = {}
    rest = list(words)
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        name = flag.replace("_", "-")
        if name in ("--port", "--host", "--format"):
            value = value if equals else rest.pop(0) if rest else ""
            if name == "--port" and not (value.isdecimal() and 0 < int(value) < 2**16):
                faults.append(
                    NOT_SERVED.finding(f"--port must be a number up to 65535, got {value!r}", f"--port {FIRST_PORT}")
                )
            elif name == "--port":
                values["port"] = int(value)
            elif name == "--host":
                values["host"] = value or LOOPBACK[0]
            elif value in FORMATS:
                values["json"] = value == "json"
            else:
                message = f"--format must be one of {', '.join(FORMATS)}, got {value!r}"
                faults.append(Finding(message, parameters=("format",), code="P303"))
        elif name in SWITCHES:
            if value.lower() in TRUE or not equals:
                values[SWITCHES[name]] = name != "--no-browser"
            elif value.lower() not in FALSE:
                faults.append(Finding(f"{name} is a switch, got {value!r}", name, (name.strip("-"),), code="P303"))
        elif flag.startswith("-"):
            faults.append(Finding(f"app has no flag {flag}", "autotrain app --help", code="P122"))
        else:
            folders.append(flag + equals + value)
    return Options(folders=tuple(folders), findings=tuple(faults), **values)


def _answer(options: Options, screen: Screen) -> int:
    found = [*options.findings, *_missing_packages()]
    folders = [Path(name).expanduser() for name in options.folders or (".",)]
    for folder in folders:
        if not folder.is_dir():
            found.append(NOT_SERVED.finding(f"{folder} is not a folder", "autotrain app <a folder that exists>"))
    if found:
        return refuse(found, screen)
    if options.dry_run:
        if screen.json:
            screen.document(DONE, ())
        else:
            screen.answer("Nothing was served (--dry-run).")
        return DONE
    from autotrain_llm.app.folders import Folders

    return _serve(Folders(tuple(folder.resolve() for folder in folders)), options, screen)


def _missing_packages() -> list[Finding]:
    machine = Machine()
    missing = [name for name in PACKAGES if not machine.has_package(name)]
    if not missing:
        return []
    verb = "is" if len(missing) == 1 else "are"
    message = f"autotrain app needs {', '.join(missing)}, which {verb} not installed"
    return [PACKAGES_OF_THE_APP.finding(message, 'pip install "autotrain-llm[app]"')]


def _serve(folders: Folders, options: Options, screen: Screen) -> int:
    """Listen, print the address with its token, and answer until Ctrl-C."""
    listening = _listen(options)
    if isinstance(listening, Finding):
        return refuse([listening], screen)
    import uvicorn

    from autotrain_llm.app.server import AppServer, guarded

    port = listening.getsockname()[1]
    token = secrets.token_urlsafe(32)
    is_loopback = options.host in LOOPBACK
    pages = AppServer(folders)
    application = guarded(pages, token, port, () if is_loopback else (options.host, socket.gethostname()))
    host = options.host if options.host not in ("0.0.0.0", "::") else socket.gethostname()
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}/?token={token}"
    page = Path(f"~/.cache/autotrain-llm/app-{port}.html").expanduser()
    with suppress(KeyboardInterrupt):  # uvicorn raises it again when it has ended
        if not is_loopback:
            screen.write(fit_to(screen.err, EXPOSED.format(port=port)))
        screen.answer(f"autotrain app: {address}")
        served = ", ".join(map(str, folders.roots))
        screen.write(fit_to(screen.err, f"Serves {served}. Ctrl-C ends it; runs that were started go on."))
        screen.out.flush()
        if options.browser:
            _open_browser(address, page)
        config = uvicorn.Config(
            application,
            log_level="warning",
            access_log=False,
            ws="none",
            loop="asyncio",  # the same with and without the packages that make uvicorn faster
            http="h11",
            timeout_graceful_shutdown=1,
            server_header=False,
        )
        server = uvicorn.Server(config)
        pages.is_ending = lambda: server.should_exit
        server.run(sockets=[listening])
    page.unlink(missing_ok=True)
    screen.write(STOPPED)
    return DONE


EXPOSED = (
    "Warning: other machines reach this app. Whoever has its address can read these folders and train, and the network can read along: "
    "the pages are not encrypted. A tunnel is safer: ssh -L {port}:127.0.0.1:{port} HOST."
)


def _listen(options: Options) -> socket.socket | Finding:
    """A socket that listens; a finding if there is none."""
    ports = [options.port] if options.port else range(FIRST_PORT, FIRST_PORT + PORTS_TRIED)
    problem: OSError | None = None
    for port in ports:
        try:
            *kind, _, place = socket.getaddrinfo(options.host, port, type=socket.SOCK_STREAM)[0]
            listening = socket.socket(*kind)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(place)
            listening.listen()  # two apps may bind one port, and only one can listen
        except OSError as fault:
            problem = fault
            continue
        return listening
    reason = problem.strerror if problem is not None and problem.strerror else str(problem)
    where = f"port {options.port}" if options.port else f"the ports {FIRST_PORT} to {FIRST_PORT + PORTS_TRIED - 1}"
    return NOT_SERVED.finding(f"{options.host} can't be listened on at {where}: {reason}", "another --port")


def _open_browser(address: str, page: Path) -> None:
    """Open the address by a file that only this user can read: the words of a browser's process are seen by everyone on the machine. The file is
    removed when the app ends."""
    import webbrowser

    with suppress(OSError, webbrowser.Error):
        page.parent.mkdir(parents=True, exist_ok=True)
        page.unlink(missing_ok=True)
        page.touch(mode=0o600)
        page.write_text(
            f'<!DOCTYPE html><meta http-equiv="refresh" content="0; url={address}"><a href="{address}">autotrain app</a>'
        )
        webbrowser.open(page.as_uri())
