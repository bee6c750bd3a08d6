"""The pages and what they can do. Routes read files and start processes; nothing here trains, loads a model or runs longer than a moment."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from autotrain_llm.app.access import Guard
from autotrain_llm.app.answering import SETTINGS
from autotrain_llm.app.checking import check_flags, check_stages_flags
from autotrain_llm.app.folders import Folders, Outside
from autotrain_llm.app.form import form_for, shown_defaults, texts_of_run
from autotrain_llm.app.keeping import (
    PART,
    Kept,
    move,
    removal_of,
    remove_abandoned,
    remove_run,
    rename_run,
    rename_upload,
    upload_named,
    uploads,
)
from autotrain_llm.app.launching import Launcher, folder_in, started_in, words_to_resume
from autotrain_llm.app.predictions import Predictions, predictions_of
from autotrain_llm.app.runs import (
    METRICS,
    OK,
    RUNNING,
    STARTING,
    STOPPING,
    Line,
    View,
    comparison_of,
    is_stage,
    line_of,
    models_of,
    view_of,
)
from autotrain_llm.app.staged import StagedForm, forms_of, read_staged, write_config
from autotrain_llm.app.values import FormCommand, read_form, with_changes
from autotrain_llm.app.workers import Checks, Ended, Worker
from autotrain_llm.config.registry import PARAMS, TRAINERS
from autotrain_llm.config.resolved import DEFAULT, TRAINER_DEFAULT
from autotrain_llm.config.stages import read_pipeline
from autotrain_llm.context.output_dir import RUN_FILE, earlier_run
from autotrain_llm.context.pipeline_record import PIPELINE_FILE, read_record
from autotrain_llm.data.files.read import ROW_ENDINGS
from autotrain_llm.declare.document import mapping
from autotrain_llm.declare.finding import Refused
from autotrain_llm.declare.showable import showable
from autotrain_llm.declare.text import show_bytes

HERE = Path(__file__).parent
EVERY = 0.5  # seconds between two looks at the files of a run that is followed
LARGEST_BODY = 4 * 2**20  # bytes of a form
ROOM = 2**30  # bytes that an upload leaves free on the disk
FILLED_BY_LINKS = (
    "trainer",
    "model",
    "data_path",
    "rl_reward_model_path",
)  # fields of the form, by links of other pages
EXPORTED = ("merged", "gguf", "ollama", "adapter")  # the forms of `autotrain export`
SIZES = ("scratch:100k", "scratch:1m", "scratch:5m", "scratch:25m", "scratch:100m")
# A report is the work of another process: it stands in a frame of its own, without scripts and without this app's address.
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; frame-ancestors 'self'"


class AppServer:
    """The app: its folders, its processes and its pages. Nothing is followed any more when `is_ending`."""

    def __init__(self, folders: Folders, launcher: Launcher | None = None) -> None:
        self.folders = folders
        self.launcher = launcher or Launcher(folders)
        self.checks = Checks(folders.home)
        self.answering: Worker | None = None
        self.is_ending: Callable[[], bool] = lambda: False
        self.pages = _environment()

    def application(self) -> Starlette:
        """The ASGI application, without the guard before it."""
        routes = [
            Route("/", self.first_page),
            Route("/compose", self.compose),
            Route("/compose/fields", self.fields, methods=["POST"]),
            Route("/compose/flags", self.flags, methods=["POST"]),
            Route("/compose/files", self.files, methods=["POST"]),
            Route("/compose/start", self.start, methods=["POST"]),
            Route("/upload", self.upload, methods=["POST"]),
            Route("/runs", self.runs),
            Route("/compare", self.compare),
            Route("/run", self.run),
            Route("/run/events", self.events),
            Route("/run/stamp", self.stamp),
            Route("/run/predictions", self.predictions),
            Route("/run/report", self.report),
            Route("/run/stop", self.stop, methods=["POST"]),
            Route("/run/stop-at-once", self.stop, methods=["POST"]),
            Route("/run/resume", self.resume, methods=["POST"]),
            Route("/run/forget", self.forget, methods=["POST"]),
            Route("/run/removal", self.removal),
            Route("/run/export", self.export, methods=["POST"]),
            Route("/run/remove", self.remove, methods=["POST"]),
            Route("/run/rename", self.rename, methods=["POST"]),
            Route("/files", self.files_page),
            Route("/files/remove", self.remove_file, methods=["POST"]),
            Route("/files/rename", self.rename_file, methods=["POST"]),
            Route("/try", self.try_page),
            Route("/try/open", self.try_open, methods=["POST"]),
            Route("/try/say", self.try_say, methods=["POST"]),
            Route("/try/stop", self.try_stop, methods=["POST"]),
            Route("/rule/{code}", self.rule),
            Route("/plots.{ending:str}", self.plots),
            Mount("/static", StaticFiles(directory=HERE / "static")),
        ]
        handlers: Mapping[Any, Any] = dict.fromkeys((HTTPException, Outside, Kept), self._problem)
        return Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        yield
        await self.checks.close()
        if self.answering is not None:
            await self.answering.close()

    # ---- answers

    def _page(self, name: str, status: int = 200, **content: Any) -> HTMLResponse:
        return HTMLResponse(self._html(name, **content), status)

    def _html(self, name: str, **content: Any) -> str:
        return self.pages.get_template(name).render(folders=self.folders, **content)

    async def _problem(self, request: Request, problem: Exception) -> Response:
        status = (
            problem.status_code if isinstance(problem, HTTPException) else 409 if isinstance(problem, Kept) else 403
        )
        text = str(problem.detail) if isinstance(problem, HTTPException) else str(problem)
        if request.method != "GET":
            return JSONResponse({"problem": showable(text)}, status)
        return self._page("problem.html.jinja", status, text=showable(text), page="")

    def _folder(self, request: Request) -> tuple[Path, str]:
        """The folder that a request is about, and its path as shown. Raises Outside."""
        folder = self.folders.resolve(request.query_params.get("folder", ""))
        return folder, self.folders.shown(folder)

    def _run(self, request: Request) -> tuple[Path, str]:
        """The same, if there is a run in it, or one was started for it."""
        folder, shown = self._folder(request)
        is_there = any((folder / name).is_file() for name in (RUN_FILE, PIPELINE_FILE))
        if not is_there and self.launcher.state_of(folder) is None:
            raise HTTPException(404, f"There is no run in {shown}.")
        return folder, shown

    # ---- compose

    async def first_page(self, request: Request) -> Response:
        return RedirectResponse("/runs" if await asyncio.to_thread(self._lines) else "/compose", 303)

    async def compose(self, request: Request) -> Response:
        texts: dict[str, str] = {"trainer": PARAMS["trainer"].default}
        if "from" in request.query_params:
            run = earlier_run(self.folders.resolve(request.query_params["from"]))
            cells = mapping(mapping(run.get("plan")).get("parameters"))
            given = {
                name: cell.get("value")
                for name, cell in cells.items()
                if isinstance(cell, dict) and cell.get("source") not in (DEFAULT, TRAINER_DEFAULT)
            }
            texts |= texts_of_run(given)
        texts |= {name: request.query_params[name] for name in FILLED_BY_LINKS if request.query_params.get(name)}
        staged = self._staged(request.query_params["pipeline"]) if "pipeline" in request.query_params else None
        if staged is not None:
            texts = staged["stages"][0]["values"]
        lines = [line for line in await asyncio.to_thread(self._lines) if line.state == OK]
        return self._page(
            "compose.html.jinja",
            page="compose",
            form=form_for(texts),
            trainers=list(TRAINERS.values()),
            models=[*SIZES, *(line.folder for line in lines[:40])],
            data=self.folders.data_files(),
            staged=staged,
        )

    def _staged(self, text: str) -> dict[str, Any]:
        """The forms of a pipeline in a folder, from the config that it was trained with."""
        folder = self.folders.resolve(text)
        record = read_record(folder)
        where = folder_in(record.started_in if record else None, self.folders)
        config = self.folders.resolve(str(where / record.config)) if record is not None and record.config else None
        try:
            pipeline = None if config is None else read_pipeline(str(config))
        except Refused:
            pipeline = None
        if pipeline is None or not pipeline.stages:
            raise HTTPException(404, f"The config of {self.folders.shown(folder)} is not there any more.")
        return {"name": folder.name, "stages": forms_of(pipeline), "shown": 0}

    async def fields(self, request: Request) -> Response:
        """The fields for the trainer and the texts of the form, after a fix where one is to be applied."""
        body = await _body(request)
        command = self._command(body)
        texts = with_changes(command.texts, mapping(body.get("changes")))
        return JSONResponse(
            {"html": self._html("fields.html.jinja", form=form_for(texts)), "trainer": texts.get("trainer", "")}
        )

    async def flags(self, request: Request) -> Response:
        form = self._form(await _body(request))
        document = check_flags(form) if isinstance(form, FormCommand) else check_stages_flags(form)
        return JSONResponse(self._checked(document, form))

    async def files(self, request: Request) -> Response:
        body = await _body(request)
        form = self._form(body)
        roots = [str(root) for root in self.folders.roots]
        of_form = {"texts": form.texts} if isinstance(form, FormCommand) else _of_stages(form)
        order = {**of_form, "roots": roots}
        try:
            document = await self.checks.check(str(body.get("form", "")), order)
        except Ended:
            return JSONResponse({"superseded": True}, 409)
        parts = {
            "plan": self._html(
                "plan.html.jinja",
                plan=document.get("plan"),
                not_checked=document.get("not_checked") or [],
                stages=document.get("stages") or [],
            ),
            "data": self._html("data.html.jinja", data=document.get("data"), suited=document.get("suited")),
            "ready": not document.get("refused", True),
        }
        return JSONResponse({**self._checked(document, form), **parts})

    def _command(self, body: Mapping[str, Any]) -> FormCommand:
        try:
            return read_form(mapping(body.get("values")), self.folders)
        except KeyError as name:
            raise HTTPException(400, f"The form has no field {name}.") from None

    def _form(self, body: Mapping[str, Any]) -> FormCommand | StagedForm:
        """One run, or the stages of a pipeline."""
        if "stages" not in body:
            return self._command(body)
        try:
            return read_staged(body, self.folders)
        except KeyError as name:
            raise HTTPException(400, f"The form has no field {name}.") from None
        except ValueError as problem:
            raise HTTPException(400, f"The pipeline can't be read: {problem}.") from None

    def _checked(self, document: Mapping[str, Any], form: FormCommand | StagedForm) -> dict[str, Any]:
        """Findings as HTML, those of a field by its name, and the texts to copy."""
        findings = document["findings"]
        command = form if isinstance(form, FormCommand) else form.current
        texts = (
            {"command": form.text(), "config": form.config(), "stages": []}
            if isinstance(form, FormCommand)
            else {"command": form.command(), "config": form.text(), "stages": document.get("stages") or []}
        )
        by_field: dict[str, list[dict[str, Any]]] = {}
        general = []
        for finding in findings:
            names = [name for name in finding["parameters"] if name in command.texts] or finding["parameters"]
            if names and not finding.get("missing"):
                by_field.setdefault(names[0], []).append(finding)
            else:
                general.append(finding)
        errors = sum(finding["severity"] == "error" for finding in findings)
        return {
            "fields": {
                name: {
                    "html": self._html("findings.html.jinja", findings=found),
                    "error": any(one["severity"] == "error" for one in found),
                }
                for name, found in by_field.items()
            },
            "general": self._html("findings.html.jinja", findings=general),
            "missing": [name for finding in findings if finding.get("missing") for name in finding["parameters"]],
            "defaults": shown_defaults(command.texts),
            "errors": errors,
            "warnings": len(findings) - errors,
            **texts,
        }

    async def start(self, request: Request) -> Response:
        form = self._form(await _body(request))
        return self._start_run(form) if isinstance(form, FormCommand) else self._start_stages(form)

    def _start_stages(self, form: StagedForm) -> Response:
        """Write the config of a pipeline and start it."""
        faults = [one for command in form.commands for one in command.findings if one.severity == "error"]
        if faults:
            return JSONResponse({"problem": faults[0].message}, 422)
        folder = self.folders.resolve(form.folder)
        if self.launcher.process_of(folder) is not None:
            return JSONResponse({"problem": f"{self.folders.shown(folder)} is in use by another run."}, 409)
        with _named_in(form.path):
            config = write_config(form, self.folders)
        shown = self.folders.shown(folder)
        words = [f"--config={self.folders.shown(config)}", f"--output-dir={shown}"]
        self.launcher.start(words, folder, form.environment())
        return JSONResponse({"location": _address("/run", shown)})

    def _start_run(self, command: FormCommand) -> Response:
        errors = [finding for finding in command.findings if finding.severity == "error"]
        if errors:
            return JSONResponse({"problem": errors[0].message}, 422)
        folder = self._output_folder(command)
        if self.launcher.process_of(folder) is not None:
            return JSONResponse({"problem": f"{self.folders.shown(folder)} is in use by another run."}, 409)
        words = [word for word in command.words() if not word.startswith("--output-dir=")]
        words.append(f"--output-dir={self.folders.shown(folder)}")
        self.launcher.start(words, folder, command.environment())
        return JSONResponse({"location": _address("/run", self.folders.shown(folder))})

    def _output_folder(self, command: FormCommand) -> Path:
        """The folder of the form, else the next free one, which no run that is starting has either. Raises Outside."""
        named = command.values.get("output_dir")
        if named:
            return self.folders.resolve(str(named))
        model = str(command.values.get("model") or "model").rstrip("/").rpartition("/")[2]
        stem = "".join(letter if letter.isalnum() or letter in "._" else "-" for letter in model).strip("-.")[:80]
        trainer = command.values.get("trainer", PARAMS["trainer"].default)
        taken = {path.name for path in self.launcher.waiting()}
        for index in range(1, 100_000):
            folder = self.folders.resolve(f"runs/{trainer}-{stem or 'model'}-{index}")
            if not folder.exists() and folder.name not in taken:
                return folder
        raise HTTPException(409, "There is no free name below runs/.")

    async def upload(self, request: Request) -> Response:
        """Write a file of rows below `uploads/`, under a name that is free."""
        name = request.query_params.get("name", "")
        path = self.folders.new_upload(name)
        remove_abandoned(path.parent)
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")
        try:
            with part.open("xb") as file:
                async for chunk in request.stream():
                    if shutil.disk_usage(path.parent).free < ROOM + len(chunk):
                        raise HTTPException(507, "The disk is almost full: the file was not kept.")
                    file.write(chunk)
            while True:
                with suppress(FileExistsError):  # another upload of this name was faster
                    move(part, path)
                    break
                path = self.folders.new_upload(name)
        except ClientDisconnect:
            return Response(status_code=400)
        except OSError as problem:
            raise HTTPException(
                500, f"{self.folders.shown(path)} can't be written: {problem.strerror or problem}"
            ) from None
        finally:
            part.unlink(missing_ok=True)
        return JSONResponse({"path": self.folders.shown(path)})

    # ---- runs

    def _lines(self) -> list[Line]:
        """All runs, also those that are starting or were refused, the newest first."""
        found = {folder: self._line(folder) for folder in self.folders.runs()}
        for folder in self.launcher.waiting():
            if folder not in found and (line := self._line(folder)).state:
                found[folder] = line
        is_new = ("", *(line.started for line in found.values()))
        return sorted(found.values(), key=lambda line: line.started or max(is_new) + "~", reverse=True)

    def _line(self, folder: Path) -> Line:
        """The line of a run, in the state that its process says where its files don't."""
        line, state = line_of(folder, self.folders.shown(folder)), self.launcher.state_of(folder)
        return line if state is None else replace(line, state=state)

    async def runs(self, request: Request) -> Response:
        lines = await asyncio.to_thread(self._lines)
        name = "runs_rows.html.jinja" if request.query_params.get("rows") else "runs.html.jinja"
        return self._page(name, page="runs", lines=lines)

    async def compare(self, request: Request) -> Response:
        folders = [self.folders.resolve(text) for text in request.query_params.getlist("folder")]
        runs = [
            (folder, self.folders.shown(folder)) for folder in dict.fromkeys(folders) if (folder / RUN_FILE).is_file()
        ]
        if len(runs) < 2:
            raise HTTPException(400, "Choose two runs or more in the list, to compare them.")
        stamp = " ".join([await asyncio.to_thread(self._stamp, folder) for folder, _ in runs])
        if "stamp" in request.query_params:
            return JSONResponse({"stamp": stamp})
        compared = await asyncio.to_thread(comparison_of, runs)
        return self._page("compare.html.jinja", page="runs", compared=compared, stamp=stamp)

    def _live(self, folder: Path, shown: str) -> tuple[View, dict[str, str]]:
        """A run, and the parts of its page that change while it goes on, by the id of their place."""
        view = view_of(folder, shown, self.launcher.state_of(folder))
        output = self.launcher.output_of(folder)
        return view, {
            "tools": self._html("run_tools.html.jinja", view=view),
            "live": self._html("live.html.jinja", view=view, output=output),
        }

    async def run(self, request: Request) -> Response:
        folder, shown = self._run(request)
        stamp = await asyncio.to_thread(
            self._stamp, folder
        )  # before the page: what changes meanwhile is seen as a change
        view, parts = await asyncio.to_thread(self._live, folder, shown)
        tools, live = Markup(parts["tools"]), Markup(parts["live"])  # the page's own parts
        return self._page("run.html.jinja", page="runs", view=view, stamp=stamp, tools=tools, live=live)

    async def events(self, request: Request) -> Response:
        """The changing parts of a run's page, each time its files have changed; at the end, word that the page is to be loaded again."""
        folder, shown = self._run(request)
        return StreamingResponse(self._follow(folder, shown, request), media_type="text/event-stream")

    async def _follow(self, folder: Path, shown: str, request: Request) -> AsyncIterator[str]:
        seen = ""
        while not (self.is_ending() or await request.is_disconnected()):
            stamp = await asyncio.to_thread(self._stamp, folder)
            if stamp != seen:
                seen = stamp
                view, parts = await asyncio.to_thread(self._live, folder, shown)
                yield f"data: {json.dumps(parts)}\n\n"
                if not view.line.is_live:
                    yield "event: ended\ndata: 1\n\n"
                    return
            await asyncio.sleep(EVERY)

    async def stamp(self, request: Request) -> Response:
        """What changes when the page of a run is to be loaded again: another tab, or a terminal, may have resumed, renamed or removed it."""
        folder, _ = self._run(request)
        return JSONResponse({"stamp": await asyncio.to_thread(self._stamp, folder)})

    def _stamp(self, folder: Path) -> str:
        """Changes with the files that a run writes as it goes on, and with the state of its process."""
        stamps: list[Any] = [self._line(folder).state, self.launcher.output_of(folder)]
        record = read_record(folder)
        of_stages = [f"{stage}/{name}" for stage in (record.stages if record else ()) for name in (RUN_FILE, METRICS)]
        for name in (
            *of_stages,
            RUN_FILE,
            "metrics.jsonl",
            "samples.jsonl",
            "report.html",
            PIPELINE_FILE,
            "sweep/trials.json",
        ):
            with suppress(OSError):
                stat = (folder / name).stat()
                stamps.append((name, stat.st_mtime_ns, stat.st_size))
        return sha256(repr(stamps).encode()).hexdigest()[:16]

    async def predictions(self, request: Request) -> Response:
        """The rows that the model answered in evaluations, those with the words that are looked for first."""
        folder, _ = self._run(request)
        words = request.query_params.get("words", "")
        found: Predictions = await asyncio.to_thread(predictions_of, folder, words)
        return self._page("predictions.html.jinja", page="runs", found=found, words=words, line=self._line(folder))

    async def report(self, request: Request) -> Response:
        folder, shown = self._run(request)
        path = self.folders.resolve(str(folder / "report.html"))
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            raise HTTPException(404, f"{shown} has no report yet.") from None
        return HTMLResponse(text, headers={"content-security-policy": REPORT_POLICY})

    async def stop(self, request: Request) -> Response:
        folder, shown = self._run(request)
        if not self.launcher.stop(folder, at_once=request.url.path == "/run/stop-at-once"):
            raise HTTPException(409, f"No process that can be stopped writes to {shown}.")
        return JSONResponse({"told": "It saves a checkpoint if it has begun to train, and stops."})

    async def resume(self, request: Request) -> Response:
        folder, shown = self._run(request)
        if self.launcher.process_of(folder) is not None:
            raise HTTPException(409, f"{shown} is running.")
        if is_stage(folder):
            raise HTTPException(409, f"{shown} is a stage of {folder.parent.name}: resume that.")
        record = read_record(folder)
        words = words_to_resume(folder, earlier_run(folder)) if record is None else list(record.words)
        if not words:
            raise HTTPException(
                409,
                f"{shown} was written by another version: give the command that trained it again in a terminal.",
            )
        where = started_in(folder, self.folders) if record is None else folder_in(record.started_in, self.folders)
        self.launcher.start(words, folder, {}, where)
        return JSONResponse({"location": _address("/run", shown)})

    async def forget(self, request: Request) -> Response:
        """Remove the record of a command that was refused, of which there is no run."""
        folder, shown = self._run(request)
        if (folder / RUN_FILE).exists() or self.launcher.process_of(folder) is not None:
            raise HTTPException(409, f"{shown} is a run: nothing of it is removed here.")
        self.launcher.forget(folder)
        return JSONResponse({"location": "/runs"})

    async def export(self, request: Request) -> Response:
        """Write the model of a run in the form of another program, by `autotrain export` in a process of its own, and wait for it."""
        folder, shown = self._run(request)
        form, model = (await _body(request)).get("to"), models_of(folder, self._line(folder))
        if form not in EXPORTED or not model:
            raise HTTPException(400, f"{shown} has no model that can be exported so.")
        document = mapping(
            await self.launcher.answer_of(("export", f"--model={model}", "--to", form, "--format", "json"))
        )
        if not document:
            raise HTTPException(
                500, "The process that exports has ended: there may be too little memory, or disk, for it."
            )
        keys = ("severity", "message", "code", "fix")
        findings = [
            {"place": "", "button": "", **{key: str(finding.get(key) or "") for key in keys}}
            for finding in map(mapping, document.get("findings") or ())
        ]
        written = mapping(document.get("exported")).get("folder")
        told = f"Written to {written}." if written else "Nothing was written."
        return JSONResponse({"told": told, "findings": self._html("findings.html.jinja", findings=findings)})

    async def removal(self, request: Request) -> Response:
        """The question that is asked before a run is removed."""
        folder, _ = self._ended(request)
        removal = await asyncio.to_thread(removal_of, self.folders, folder, self.folders.runs())
        return JSONResponse({"ask": removal.in_words()})

    async def remove(self, request: Request) -> Response:
        folder, shown = self._ended(request)
        if (await _body(request)).get("sure") is not True:
            raise HTTPException(400, f"{shown} is removed only by who was asked.")
        with _named_in(shown):
            await asyncio.to_thread(remove_run, self.folders, folder)
        self.launcher.forget(folder)
        return JSONResponse({"location": "/runs"})

    async def rename(self, request: Request) -> Response:
        folder, shown = self._ended(request)
        name = str((await _body(request)).get("name") or "").strip()
        with _named_in(shown):
            target = await asyncio.to_thread(rename_run, self.folders, folder, name, self.folders.runs())
        self.launcher.moved(folder, target)
        return JSONResponse({"location": _address("/run", self.folders.shown(target))})

    def _ended(self, request: Request) -> tuple[Path, str]:
        """The run that a request is about, to which no process writes or is about to. Raises Kept if one does."""
        folder, shown = self._run(request)
        if self.launcher.process_of(folder) is not None:
            raise Kept(f"A process writes to {shown}: stop it first.")
        return folder, shown

    # ---- files

    async def files_page(self, request: Request) -> Response:
        found = await asyncio.to_thread(uploads, self.folders, self.folders.runs())
        return self._page("files.html.jinja", page="files", files=found)

    async def remove_file(self, request: Request) -> Response:
        path = await self._unused_file(request)
        if (await _body(request)).get("sure") is not True:
            raise HTTPException(400, f"{path.name} is removed only by who was asked.")
        with _named_in(path.name):
            path.unlink()
        return JSONResponse({"location": "/files"})

    async def rename_file(self, request: Request) -> Response:
        path = await self._unused_file(request)
        name = str((await _body(request)).get("name") or "").strip()
        with _named_in(path.name):
            rename_upload(self.folders, path, name)
        return JSONResponse({"location": "/files"})

    async def _unused_file(self, request: Request) -> Path:
        """The uploaded file that a request is about, which no run reads that is going. Raises Kept if one may."""
        path = upload_named(self.folders, request.query_params.get("file", ""))
        lines = await asyncio.to_thread(self._lines)
        going = [line.folder for line in lines if line.is_live and (not line.data or self._is_at(line.data, path))]
        if going:
            raise Kept(f"{path.name} may be read by {', '.join(going)}, which is going on.")
        return path

    def _is_at(self, text: str, path: Path) -> bool:
        with suppress(Outside):
            return self.folders.resolve(text) == path.resolve()
        return False

    # ---- try

    async def try_page(self, request: Request) -> Response:
        lines = await asyncio.to_thread(self._lines)
        models = {model: line for line in lines if (model := models_of(self.folders.resolve(line.folder), line))}
        chosen = request.query_params.get("folder") or next(iter(models), "")
        started_from = models[chosen].model if chosen in models else ""
        is_new = not started_from or started_from.startswith("scratch:")  # there is nothing to compare it with
        return self._page(
            "try.html.jinja", page="try", models=list(models), chosen=chosen, against="" if is_new else "base"
        )

    async def try_open(self, request: Request) -> Response:
        body = await _body(request)
        settings = {name: str(body.get(name) or "").strip() for name in SETTINGS}
        for name in ("model", "against"):
            if settings[name] and settings[name] != "base":
                self.folders.resolve(settings[name].partition("@")[0])
        if self.answering is not None:
            self.answering.stop()
        worker = self.answering = Worker("answer", self.folders.home)
        try:
            parts = [part async for part in worker.ask({"open": settings})]
        except Ended:
            raise HTTPException(
                500, "The process that loads the models has ended: there may be too little memory for them."
            ) from None
        opened = next((part["opened"] for part in parts if "opened" in part), None)
        findings = [finding for part in parts for finding in part.get("findings", ())]
        html = self._html("findings.html.jinja", findings=findings)
        return JSONResponse({"opened": opened, "findings": html, "talk": worker.name})

    async def try_say(self, request: Request) -> Response:
        """Pieces of the answers, as lines of JSON."""
        body = await _body(request)
        worker = self.answering
        if worker is None or worker.is_busy:
            raise HTTPException(409, "Load a model first, and wait for its last answer.")
        if body.get("talk") != worker.name:
            raise HTTPException(409, "Other models were loaded in another tab: load these again.")
        order = {"reset": True} if body.get("reset") else {"say": str(body.get("text", ""))}

        async def pieces() -> AsyncIterator[str]:
            try:
                async for part in worker.ask(order):
                    yield json.dumps(part) + "\n"
            except Ended:
                yield json.dumps({"lost": True}) + "\n"

        return StreamingResponse(pieces(), media_type="application/x-ndjson")

    async def try_stop(self, request: Request) -> Response:
        if self.answering is not None:
            self.answering.interrupt()
        return JSONResponse({})

    # ---- rules and plots

    async def plots(self, request: Request) -> Response:
        """The style and the script of reports' plots."""
        from autotrain_llm.run.report.page import resource

        kind = {"css": "text/css", "js": "text/javascript"}.get(request.path_params["ending"])
        if kind is None:
            raise HTTPException(404)
        return Response(resource(f"plots.{request.path_params['ending']}"), media_type=kind)

    async def rule(self, request: Request) -> Response:
        from autotrain_llm.checks.rules.every import every_rule

        rule = every_rule().get(request.path_params["code"])
        if rule is None:
            raise HTTPException(404, "There is no such finding.")
        parts = re.split(r"\n\n|\n(?=Why:|Fix:)", rule.documentation)
        return self._page("rule.html.jinja", page="", rule=rule, paragraphs=[" ".join(part.split()) for part in parts])


def _of_stages(form: StagedForm) -> dict[str, Any]:
    """The forms of stages as an order of the process that checks them."""
    stages = [{"name": name, "values": command.texts} for name, command in zip(form.names, form.commands, strict=True)]
    return {"stages": stages, "shown": form.shown, "name": form.name}


def _environment() -> jinja2.Environment:
    """Templates, in which every text is escaped."""
    from autotrain_llm.run.report.svg import COLOURS

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "pages"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"code": _with_code, "address": _address, "bytes": show_bytes, "day": _day}
    environment.globals["colours"] = COLOURS
    environment.globals |= {"running": RUNNING, "starting": STARTING, "stopping": STOPPING, "row_endings": ROW_ENDINGS}
    return environment


def _with_code(text: str) -> Markup:
    """A text of the declarations, with what stands between backticks as code."""
    parts = str(text).split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else part for index, part in enumerate(parts)
    )


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def _address(page: str, folder: str) -> str:
    return f"{page}?folder={quote(folder, safe='/')}"


@contextmanager
def _named_in(shown: str) -> Iterator[None]:
    """A context that answers a failure of the disk with what it was about."""
    try:
        yield
    except OSError as problem:
        raise HTTPException(500, f"{shown}: {problem.strerror or problem}") from None


async def _body(request: Request) -> dict[str, Any]:
    """The JSON object of a request."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise HTTPException(413, "That is too long.")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise HTTPException(400, "The request is not a JSON object.")
    return document


def guarded(server: AppServer, token: str, port: int, names: tuple[str, ...] = ()) -> Guard:
    """The application behind its guard."""
    return Guard(server.application(), token, port, names)
