// The pages' own script. Each page is made by the server; this sends what is entered, and puts what comes back in its place.
"use strict";

const one = (selector, inside = document) => inside.querySelector(selector);
const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];

function tell(text) {
  const told = one("#told");
  told.textContent = text;
  told.classList.add("shown");
  clearTimeout(tell.timer);
  tell.timer = setTimeout(() => told.classList.remove("shown"), 5000);
}

function made(kind, text = "") {
  return Object.assign(document.createElement("div"), { className: kind, textContent: text });
}

const GONE = "The app does not answer. Runs that were started go on.";
const ANOTHER = "The app was started again: open the address that it has printed.";

async function post(address, body, signal) {
  const response = await fetch(address, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" }, signal });
  const answer = response.status === 401 ? { problem: ANOTHER } : await response.json().catch(() => ({ problem: GONE }));
  return { ...answer, status: response.status };
}

// The answer of the server, or word that there is none; null where the request was given up for a later one.
async function asked(address, body, signal) {
  try {
    return await post(address, body, signal);
  } catch (problem) {
    if (problem.name === "AbortError") return null;
    return { problem: GONE };
  }
}

document.addEventListener("click", async (event) => {
  const copied = event.target.closest("[data-copy]");
  if (copied) {
    try {
      await navigator.clipboard.writeText(one("#" + copied.dataset.copy).textContent);
      tell("Copied.");
    } catch {
      getSelection().selectAllChildren(one("#" + copied.dataset.copy));
      tell("Selected: copy it with the keyboard.");
    }
  }
  const button = event.target.closest("[data-post]");
  if (button) act(button);
});

let acting = false;  // this page is about to be left for what an action leads to

// Carries out what a button does with its run or its file, when what it asks first was answered.
async function act(button) {
  const { file } = button.closest("[data-file]")?.dataset ?? {}, { run } = one("[data-run]")?.dataset ?? {};
  const about = file === undefined ? "?folder=" + encodeURIComponent(run) : "?file=" + encodeURIComponent(file);
  const body = await answered(button, about);
  if (!body) return;
  button.disabled = acting = true;
  const answer = await asked(button.dataset.post + about, body);
  if (answer.location) return location.assign(answer.location);
  button.disabled = acting = false;
  if (!answer.problem) return tell(answer.told);
  tell(answer.problem);
  if (answer.status === 409 && run) setTimeout(() => location.reload(), 4000);  // the run may not be in the state that this page shows
}

// What is sent with an action: null if it was not wanted after all.
async function answered(button, about) {
  const { ask, question, newName } = button.dataset;
  if (newName !== undefined) {
    const name = prompt("The new name of " + newName, newName);
    return name && name.trim() !== newName ? { name } : null;
  }
  const answer = question ? await (await fetch(question + about)).json().catch(() => ({ problem: GONE })) : { ask };
  if (answer.problem) return tell(answer.problem), null;
  return !answer.ask || confirm(answer.ask) ? { sure: true } : null;
}

// ---- compose

function compose() {
  const form = one("#form"), fields = one("#fields"), start = one("#start"), state = one("#state");
  const id = crypto.getRandomValues(new Uint32Array(2)).join("-");
  const draft = "compose" + location.search;  // what is entered is kept while the tab is open, without secrets
  let abandon = null, waiting = 0, turn = 0;
  let stages = [], shown = 0;  // of a pipeline: name and values of each stage, and which of them the form has; none for one run

  const values = () => Object.fromEntries([...new FormData(form)].filter(([name, value]) => typeof value === "string" && value.trim() !== ""));

  function keep() {
    const secret = new Set(all("input[type=password]", form).map((input) => input.name));
    const kept = (of) => Object.fromEntries(Object.entries(of).filter(([name]) => !secret.has(name)));
    const staged = stages.map(({ name, values }) => ({ name, values: kept(values) }));
    sessionStorage.setItem(draft, JSON.stringify({ values: kept(values()), stages: staged, shown, name: one("#pipeline").value }));
  }

  // What is sent: the values of one run, or the stages of a pipeline.
  function sent() {
    if (!stages.length) return { values: values() };
    stages[shown].values = values();
    return { stages, shown, name: one("#pipeline").value };
  }

  async function restore() {
    const isLink = location.search && performance.getEntriesByType("navigation")[0]?.type === "navigate";  // to other settings
    const kept = isLink ? null : JSON.parse(sessionStorage.getItem(draft) || "null");
    const staged = kept || JSON.parse(form.dataset.staged || "null");
    if (staged?.stages.length) {
      ({ stages, shown } = staged);
      one("#pipeline").value = staged.name;
      return fill(stages[shown].values);
    }
    if (!kept || JSON.stringify(kept.values) === JSON.stringify(values())) return check();
    await fill(kept.values);
  }

  // Makes the form again with these values.
  async function fill(wanted) {
    const answer = await asked("/compose/fields", { values: wanted, changes: {} });
    if (answer.problem) return fail(answer.problem);
    fields.innerHTML = answer.html;
    one("#f-trainer").value = answer.trainer || wanted.trainer;
    drawTabs();
    await check();
  }

  // ---- stages

  function drawTabs(lines = []) {
    one("#staged").hidden = one("#remove-stage").hidden = !stages.length;
    one("#what-stages").hidden = stages.length > 0;
    for (const field of all('[data-name="output_dir"]', form)) field.hidden = stages.length > 0 && !one("#f-output_dir").value;
    one("#as-file").textContent = stages.length ? "autotrain llm --config FILE" : "autotrain llm --config run.yaml";
    if (!stages.length) return one("#tabs").replaceChildren();
    if (document.activeElement !== one("#stage")) one("#stage").value = stages[shown].name;
    const tabs = stages.map(({ name, values }, index) => {
      const item = document.createElement("li"), button = document.createElement("button");
      const { errors = 0, warnings = 0 } = lines[index] || {};
      const mark = errors ? " ✕" + errors : warnings ? " !" + warnings : "";
      Object.assign(button, { type: "button", textContent: (index + 1) + " " + name + mark, className: "small" + (errors ? " bad" : "") });
      button.setAttribute("aria-label", `Stage ${index + 1}: ${name}, ${values.trainer || "sft"}` + (errors ? `, errors: ${errors}` : warnings ? `, warnings: ${warnings}` : ""));
      if (index === shown) button.setAttribute("aria-current", "true");
      button.addEventListener("click", () => open(index));
      item.append(button);
      return item;
    });
    const focused = all("#tabs button").indexOf(document.activeElement);
    one("#tabs").replaceChildren(...tabs);
    if (focused >= 0) all("#tabs button")[focused]?.focus();
    const list = one("#list-models");
    all("[data-stage]", list).forEach((option) => option.remove());
    list.prepend(...stages.slice(0, shown).reverse().map(({ name }) => Object.assign(document.createElement("option"), { value: name })));
    all("option", list).slice(0, shown).forEach((option) => (option.dataset.stage = ""));
  }

  async function open(index) {
    if (index === shown) return;
    stages[shown].values = values();
    shown = index;
    await fill(stages[shown].values);
  }

  async function addStage() {
    const now = values(), taken = () => stages.map(({ name }) => name.toLowerCase());
    const named = (name) => {
      for (let number = 1; ; number++) if (!taken().includes(number > 1 ? name + "-" + number : name)) return number > 1 ? name + "-" + number : name;
    };
    if (stages.length) stages[shown].values = now;
    else {
      const { output_dir: folder, ...rest } = now;  // what a stage is written to follows from its name
      stages = [{ name: named(now.trainer), values: rest }];
      if (folder) one("#pipeline").value = folder.split("/").pop();
    }
    const trainer = now.trainer === "sft" ? "dpo" : now.trainer;
    shown = stages.length;
    stages.push({ name: named(trainer), values: { trainer, model: stages[shown - 1].name } });
    await fill(stages[shown].values);
    one("#stage").focus();
  }

  async function removeStage() {
    stages.splice(shown, 1);
    shown = Math.max(0, shown - 1);
    const rest = stages[shown].values;
    if (stages.length === 1) stages = [];
    await fill(rest);
  }

  // A stage has another name: where others name it as a model, they name it so.
  function renameStage(name) {
    const before = stages[shown].name;
    stages[shown].values = values();
    stages[shown].name = name;
    for (const { values } of stages)
      for (const [key, text] of Object.entries(values)) {
        if (text === before || text.startsWith(before + "@")) values[key] = name + text.slice(before.length);
        else values[key] = text.replaceAll("${stages." + before + "}", "${stages." + name + "}");
      }
    drawTabs();
    soon(350);
  }

  function fail(problem) {
    state.className = "state bad";
    state.textContent = problem;
  }

  function show(answer, isWhole) {
    for (const place of all("[data-found]", form)) {
      const found = answer.fields[place.dataset.found];
      if (!isWhole && !found && place.dataset.whole) continue;  // files were read for it: it stays until they are read again
      place.innerHTML = found ? found.html : "";
      if (isWhole && found) place.dataset.whole = "1"; else delete place.dataset.whole;
      const control = one("#f-" + place.dataset.found);
      if (control) found && found.error ? control.setAttribute("aria-invalid", "true") : control.removeAttribute("aria-invalid");
      if (found) place.closest("details")?.setAttribute("open", "");
    }
    for (const field of all(".field", form)) field.classList.toggle("missing", answer.missing.includes(field.dataset.name));
    for (const [name, words] of Object.entries(answer.defaults)) {
      const control = one("#f-" + name);
      if (control && "placeholder" in control) control.placeholder = words;
    }
    const elsewhere = Object.keys(answer.fields).filter((name) => !one(`[data-found="${CSS.escape(name)}"]`, form));
    one("#general").innerHTML = answer.general + elsewhere.map((name) => answer.fields[name].html).join("");
    drawTabs(answer.stages);
    one("#command").textContent = answer.command;
    one("#config").textContent = answer.config;
  }

  function count(answer) {
    const { errors, warnings } = answer;
    const number = (n, word) => n + " " + word + (n === 1 ? "" : "s");
    const words = [errors && number(errors, "error"), warnings && number(warnings, "warning")].filter(Boolean).join(", ");
    state.className = "state " + (errors ? "bad" : answer.ready ? "good" : "");
    one("#where").hidden = !one(".finding");
    state.textContent = answer.ready ? (words ? "Ready, " + words : "Ready to start") : words || "Not ready";
  }

  async function check() {
    abandon?.abort();
    abandon = new AbortController();
    const { signal } = abandon, mine = ++turn, body = sent();
    keep();
    start.disabled = true;
    state.className = "state";
    state.textContent = "Checking …";
    const quick = await asked("/compose/flags", body, signal);
    if (!quick || mine !== turn) return;
    if (quick.problem) return fail(quick.problem);
    show(quick, false);
    if (quick.errors) state.textContent = "Checking files …";
    const whole = await asked("/compose/files", { ...body, form: id }, signal);
    if (!whole || mine !== turn || whole.superseded) return;
    if (whole.problem) return fail(whole.problem);
    show(whole, true);
    one("#data").innerHTML = whole.data;
    one("#plan").innerHTML = whole.plan;
    start.disabled = !whole.ready;
    count(whole);
  }

  function soon(delay) {
    clearTimeout(waiting);
    waiting = setTimeout(check, delay);
  }

  // Makes the fields again: for another trainer, or with the fix of a finding.
  async function remake(changes) {
    const secrets = all("input[type=password]", form).map((input) => [input.name, input.value]);
    const before = values();
    const answer = await asked("/compose/fields", { values: before, changes });
    if (answer.problem) return fail(answer.problem);
    const open = one("#more").open, sought = one("#search").value, focused = document.activeElement?.id, now = values();
    fields.innerHTML = answer.html;
    for (const [name, value] of Object.entries(now)) {  // what was typed in the meantime
      const control = one("#f-" + name);
      if (control && control.type !== "checkbox" && value !== before[name]) control.value = value;
    }
    if (answer.trainer) one("#f-trainer").value = answer.trainer;
    one("#more").open = open;
    if (sought) { one("#search").value = sought; search(); }
    for (const [name, value] of secrets) if (one("#f-" + name)) one("#f-" + name).value = value;
    const first = Object.keys(changes)[0];
    (document.getElementById(focused) || (first && one("#f-" + first)) || form).focus();
    await check();
  }

  function search() {
    const words = one("#search").value.toLowerCase().split(/\s+/).filter(Boolean);
    let any = false;
    for (const section of all("[data-section]", form)) {
      const shown = all(".field", section).filter((field) => (field.hidden = !words.every((word) => field.dataset.words.includes(word)), !field.hidden));
      section.hidden = !shown.length;
      any ||= shown.length > 0;
    }
    one(".none", form).hidden = any;
    const more = one("#more");
    if (words.length && !("was" in more.dataset)) more.dataset.was = more.open ? "1" : "";
    if (words.length) more.open = true;
    else if ("was" in more.dataset) { more.open = more.dataset.was === "1"; delete more.dataset.was; }
  }

  async function upload(file) {
    tell("Copying " + file.name + " …");
    try {
      const response = await fetch("/upload?name=" + encodeURIComponent(file.name), { method: "POST", body: file });
      const answer = await response.json();
      if (answer.problem) return tell(answer.problem);
      tell("Copied to " + answer.path + ".");
      await remake({ data_path: answer.path });
    } catch {
      tell(file.name + " could not be copied.");
    }
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    if (event.target.id === "search") search();
    else if (event.target.id === "stage") renameStage(event.target.value.trim());
    else if (event.target.type !== "file") soon(350);
  });
  form.addEventListener("change", (event) => {
    if (event.target.type === "file") { if (event.target.files[0]) upload(event.target.files[0]); }
    else if (event.target.name === "trainer" || event.target.closest("[data-remakes]")) remake({});
    else if (!["search", "stage"].includes(event.target.id)) soon(50);
  });
  document.addEventListener("click", (event) => {
    const fix = event.target.closest("[data-changes]");
    if (!fix) return;
    const changes = JSON.parse(fix.dataset.changes), now = "missing" in fix.dataset ? values() : {};
    for (const name of Object.keys(now)) delete changes[name];  // what was missing, and has been typed since
    remake(changes);
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      if (!event.dataTransfer || ![...event.dataTransfer.types].includes("Files")) return;
      event.preventDefault();
      one("[data-drop]")?.classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files[0]) upload(event.dataTransfer.files[0]);
    });
  }
  one("#where").addEventListener("click", () => {
    const finding = one(".finding.error") || one(".finding"), field = finding?.closest("[data-found]")?.dataset.found;
    const place = field ? one("#f-" + field) : one("button, a", finding);
    place?.focus();
    place?.scrollIntoView({ block: "center" });
  });
  start.addEventListener("click", async () => {
    start.disabled = true;
    state.textContent = "Starting …";
    const answer = await asked("/compose/start", sent());
    if (answer.location) return location.assign(answer.location);
    start.disabled = false;
    fail(answer.problem);
  });
  one("#add-stage").addEventListener("click", addStage);
  one("#remove-stage").addEventListener("click", removeStage);
  one("#empty").addEventListener("click", () => {
    sessionStorage.removeItem(draft);
    location.assign("/compose");
  });
  addEventListener("pageshow", restore);
}

// ---- runs

function runs() {
  const body = one("#rows"), filter = one("#filter"), button = one("#compare-button");
  const heads = all("thead th");

  function refine() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = all("tr", body).filter((row) => {
      const text = row.textContent.toLowerCase() + " " + row.dataset.folder.toLowerCase();
      return !(row.hidden = !words.every((word) => text.includes(word)));
    });
    one("#none").hidden = shown.length > 0;
  }
  function sort() {
    const at = heads.findIndex((head) => head.hasAttribute("aria-sort"));
    const direction = heads[at].getAttribute("aria-sort") === "ascending" ? 1 : -1;
    const isNumber = one("button", heads[at]).dataset.sort === "number";
    const key = (row) => row.children[at].dataset.value;
    const rows = all("tr", body).sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return direction * (isNumber ? x - y : x.localeCompare(y, undefined, { numeric: true }));
    });
    body.append(...rows);
  }
  function chosen() {
    const count = all("input[name=folder]:checked", body).length;
    button.disabled = count < 2;
    button.textContent = count > 1 ? "Compare " + count : "Compare";
  }
  async function renew() {
    if (document.hidden || document.activeElement?.closest("#rows a")) return;
    const response = await fetch("/runs?rows=1").catch(() => null);
    if (!response || !response.ok) return;
    const checked = new Set(all("input[name=folder]:checked", body).map((box) => box.value));
    const focused = document.activeElement?.closest("#rows") ? document.activeElement.value : null;
    body.innerHTML = await response.text();
    for (const box of all("input[name=folder]", body)) {
      box.checked = checked.has(box.value);
      if (focused !== null && box.value === focused) box.focus();
    }
    sort(); refine(); chosen();
  }
  for (const head of heads) {
    one("button", head)?.addEventListener("click", () => {
      const next = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", next);
      sort();
    });
  }
  filter.addEventListener("input", refine);
  body.addEventListener("change", chosen);
  setInterval(renew, 3000);
  addEventListener("pageshow", () => { refine(); chosen(); });  // a page that is gone back to has its boxes ticked
}

// ---- a run

// A run that is going on is followed by events while the page is seen: a browser has few connections for all tabs.
function follow(folder) {
  let events = null;
  const lost = one("#lost");

  function begin() {
    events?.close();
    events = document.hidden ? null : new EventSource("/run/events?folder=" + encodeURIComponent(folder));
    if (!events) return;
    events.onmessage = (event) => {
      const parts = JSON.parse(event.data), live = one("#live"), open = all("details", live).map((part) => part.open);
      live.innerHTML = parts.live;
      showValues(live);
      all("details", live).forEach((part, index) => (part.open = open[index] || false));
      const tools = made("div");
      tools.innerHTML = parts.tools;
      if (one("#tools").innerHTML !== tools.innerHTML) one("#tools").replaceChildren(...tools.childNodes);  // else a button keeps its focus
      const output = one(".output", live);
      if (output) output.scrollTop = output.scrollHeight;
    };
    events.onopen = () => { lost.hidden = true; };
    events.onerror = () => {
      lost.textContent = (events.readyState === EventSource.CLOSED ? ANOTHER : GONE) + " This page shows how the run was then.";
      lost.hidden = false;
    };
    events.addEventListener("ended", () => { events.close(); location.reload(); });
  }
  document.addEventListener("visibilitychange", begin);
  begin();
}

function exporting(form, run) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = one("button", form), told = one("#exported");
    button.disabled = true;
    told.textContent = "Exporting …";
    one("#export-findings").innerHTML = "";
    const answer = await asked("/run/export?folder=" + encodeURIComponent(run), { to: one("#to").value });
    button.disabled = false;
    told.textContent = answer.problem || answer.told;
    one("#export-findings").innerHTML = answer.findings || "";
  });
}

// One that is not may be resumed, renamed or removed in another tab.
function watch({ run, stamp }) {
  setInterval(async () => {
    if (document.hidden || acting) return;
    const response = await fetch("/run/stamp?folder=" + encodeURIComponent(run)).catch(() => null);
    if (acting) return;
    if (response?.status === 404 || (response?.ok && (await response.json()).stamp !== stamp)) location.reload();
  }, 3000);
}

// Runs that are compared, some of which may be going on.
function watchCompared() {
  setInterval(async () => {
    const shown = one("#compared");
    if (document.hidden || shown.contains(document.activeElement)) return;  // whoever reads a table with the keyboard keeps the place
    const response = await fetch(location.href + "&stamp=1").catch(() => null);
    if (response?.status === 400 || response?.status === 403) return location.reload();  // one is not there any more
    if (!response?.ok || (await response.json()).stamp === shown.dataset.stamp) return;
    const page = await fetch(location.href).catch(() => null);
    const next = page?.ok && one("#compared", new DOMParser().parseFromString(await page.text(), "text/html"));
    if (!next) return;
    shown.replaceWith(next);
    showValues(next);
  }, 3000);
}

// The list of a folder that has no runs yet.
function awaitRuns() {
  setInterval(async () => {
    const response = document.hidden ? null : await fetch("/runs?rows=1").catch(() => null);
    if (response?.ok && (await response.text()).trim()) location.reload();
  }, 3000);
}

// ---- try

function trying() {
  const open = one("#open"), talk = one("#talk"), message = one("#message"), log = one("#exchanges"), halt = one("#halt");
  let names = [], talking = "";

  open.addEventListener("submit", async (event) => {
    event.preventDefault();
    const load = one("#load"), loading = one("#loading");
    load.disabled = true;
    talk.inert = true;  // it is with the models before
    loading.textContent = "Loading …";
    one("#open-findings").innerHTML = "";
    const answer = await asked("/try/open", Object.fromEntries(new FormData(open)));
    load.disabled = talk.inert = false;
    loading.textContent = "";
    if (answer.problem) return tell(answer.problem);
    one("#open-findings").innerHTML = answer.findings;
    talk.hidden = !answer.opened;
    if (!answer.opened) return;
    names = answer.opened.map((speaker) => speaker.name);
    talking = answer.talk;
    log.replaceChildren();
    one("#heads").replaceChildren(...names.map((name) => Object.assign(document.createElement("div"), { textContent: name })));
    message.focus();
  });
  open.addEventListener("click", (event) => {
    const fix = event.target.closest("[data-changes]");
    if (!fix) return;
    for (const [name, value] of Object.entries(JSON.parse(fix.dataset.changes))) if (open.elements[name]) open.elements[name].value = value;
    open.requestSubmit();
  });

  async function say(text) {
    const sides = made("sides"), answers = names.map((name) => {
      const answer = made("answer"), words = document.createElement("span");
      answer.append(Object.assign(document.createElement("span"), { className: "who", textContent: name }), words);
      sides.append(answer);
      return { answer, words };
    });
    const question = made("asked", text);
    log.append(question, sides);
    sides.scrollIntoView({ block: "nearest" });
    one("#send").disabled = true;
    halt.disabled = false;
    try {
      const response = await fetch("/try/say", { method: "POST", body: JSON.stringify({ text, talk: talking }), headers: { "content-type": "application/json" } });
      if (!response.ok) {
        question.remove();
        sides.remove();
        message.value = text;
        throw new Error(response.status === 401 ? ANOTHER : (await response.json()).problem);
      }
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = "", part = await reader.read(); !part.done; part = await reader.read()) {
        const lines = (rest + part.value).split("\n");
        rest = lines.pop();
        for (const line of lines) piece(JSON.parse(line), answers);
      }
    } catch (problem) {
      tell(problem.message || "The answer was lost.");
    }
    one("#send").disabled = false;
    halt.disabled = true;
    message.focus();
  }
  function piece(part, answers) {
    if (part.lost) return tell("The process that answers has ended: load the models again.");
    if (part.piece) answers[part.speaker].words.append(part.piece);
    const notes = { "cut off": "(cut off at the longest answer)", stopped: "(stopped)" };
    const note = part.note || notes[part.ended] || (part.ended && !answers[part.speaker].words.textContent ? "(an empty answer)" : "");
    if (note) answers[part.speaker].answer.append(Object.assign(document.createElement("span"), { className: "note", textContent: note }));
  }

  one("#say").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = message.value.trim();
    if (!text || one("#send").disabled) return;
    message.value = "";
    say(text);
  });
  message.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); one("#say").requestSubmit(); }
  });
  halt.addEventListener("click", () => asked("/try/stop", {}));
  one("#again").addEventListener("click", async () => {
    await fetch("/try/say", { method: "POST", body: JSON.stringify({ reset: true, talk: talking }), headers: { "content-type": "application/json" } }).catch(() => null);
    log.replaceChildren();
    message.focus();
  });
}

if (one("[data-compose]")) compose();
if (one("[data-runs]")) runs();
if (one("[data-try]")) trying();
if (one("#export")) exporting(one("#export"), one("[data-run]").dataset.run);
if (one("[data-no-runs]")) awaitRuns();
if (one("#compared")) watchCompared();
if (one("[data-run]")) "live" in one("[data-run]").dataset ? follow(one("[data-run]").dataset.run) : watch(one("[data-run]").dataset);
