"use strict";
(() => {
  // Everything a span says reaches the document through textContent: there is no innerHTML in this file, and must not be.
  const trace = JSON.parse(document.getElementById("trace").textContent);
  const spans = trace.spans;
  const total = Math.max(trace.total, 0.001);
  const byId = (id) => document.getElementById(id);
  const words = {
    server: "Request", app: "App", workflow: "Workflow", node: "Node", model: "Model", agent: "Agent", tool: "Tool",
    retrieval: "Retrieval", embedding: "Embedding", rerank: "Rerank", client: "HTTP", queue: "Queue",
    database: "Database", other: "Other",
  };
  const tones = { embedding: "retrieval", rerank: "retrieval" };

  function make(tag, properties, ...children) {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(properties || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (key === "class") element.className = value;
      else if (key === "text") element.textContent = value;
      else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
    return element;
  }

  function tone(element, category) {
    element.style.setProperty("--tone", `var(--${tones[category] || category || "other"})`);
    return element;
  }

  const dot = (category) => tone(make("span", { class: "dot" }), category);
  const number = (value) => value.toLocaleString("en-US");

  function time(ms, step) {
    if (ms === 0) return "0";
    const digits = (unit) => Math.max(0, Math.min(3, Math.ceil(-Math.log10((step || ms / 50) / unit) - 1e-9)));
    if (Math.abs(ms) >= 60000) return `${(ms / 60000).toFixed(digits(60000))} m`;
    if (Math.abs(ms) >= 1000) return `${(ms / 1000).toFixed(digits(1000))} s`;
    return `${ms.toFixed(digits(1))} ms`;
  }

  function tokens(figures) {
    const [input, output, all] = figures;
    return output || !all ? `${number(input)} → ${number(output)}` : number(all);
  }

  const svg = (path, size) => {
    const image = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    image.setAttribute("viewBox", "0 0 16 16");
    image.setAttribute("width", size);
    image.setAttribute("height", size);
    image.setAttribute("aria-hidden", "true");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
    for (const [key, value] of Object.entries({ d: path, fill: "none", stroke: "currentColor", "stroke-width": "1.8",
      "stroke-linecap": "round", "stroke-linejoin": "round" })) line.setAttribute(key, value);
    image.append(line);
    return image;
  };

  let toastTimer = 0;
  async function copy(text) {
    let done = false;
    try {
      await navigator.clipboard.writeText(text);
      done = true;
    } catch {
      const area = make("textarea", { class: "mono" });
      area.value = text;
      document.body.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
    }
    document.querySelector(".toast")?.remove();
    const toast = make("div", { class: "toast", role: "status", text: done ? "Copied" : "Could not copy" });
    document.body.append(toast);
    clearTimeout(toastTimer);
    toastTimer = setTimeout(() => toast.remove(), 1400);
  }

  // ---- colours -----------------------------------------------------------------------------------------------

  const themes = ["system", "light", "dark"];
  const stored = () => { try { return localStorage.getItem("dify-otel-theme"); } catch { return null; } };
  let colours = "system";
  function theme(name) {
    if (name === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    byId("theme").textContent = { system: "Auto", light: "Light", dark: "Dark" }[name];
    byId("theme").setAttribute("aria-label", `Colours: ${name === "system" ? "as the system" : name}`);
    try { localStorage.setItem("dify-otel-theme", name); } catch { /* a file may not be allowed to remember */ }
    colours = name;
  }
  theme(themes.includes(stored()) ? stored() : "system");
  byId("theme").addEventListener("click", () => theme(themes[(themes.indexOf(colours) + 1) % themes.length]));

  // ---- the request in one glance -----------------------------------------------------------------------------

  function summary() {
    byId("trace-id").textContent = trace.id;
    byId("trace-id").addEventListener("click", () => copy(trace.id));
    const errors = trace.failures.length;
    const state = trace.failed ? ["Failed", "pill bad"]
      : errors ? [errors === 1 ? "1 error" : `${errors} errors`, "pill warn"] : ["Succeeded", "pill"];
    byId("title").append(trace.title, make("span", { class: state[1], text: state[0] }));
    const started = new Date(trace.start);
    byId("subtitle").textContent = [
      trace.request, trace.mode,
      started.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" }),
      trace.complete ? "" : "the first span was not received: this may be a part of the request",
    ].filter(Boolean).join(" · ");

    const tile = (title, value, small) => value
      ? byId("tiles").append(make("div", {}, make("dt", { text: title }),
        make("dd", { text: value }, small ? make("small", { text: ` ${small}` }) : "")))
      : undefined;
    tile("Duration", trace.duration);
    tile("First chunk", trace.first_chunk);
    if (trace.tokens) tile("Tokens", tokens(trace.tokens), trace.tokens[1] ? "in → out" : "");
    tile("Cost", trace.cost);
    tile(trace.models.length > 1 ? "Models" : "Model", trace.models[0],
      trace.models.length > 1 ? `and ${trace.models.length - 1} more` : "");
    tile("Spans", number(spans.length),
      trace.services.length ? `in ${trace.services.length} service${trace.services.length > 1 ? "s" : ""}` : "");

    if (errors) {
      const cause = trace.failures[0];
      const alarm = byId("alarm");
      alarm.hidden = false;
      alarm.append(make("b", { text: cause.name }),
        make("span", { class: "mono", text: [cause.type, cause.message].filter(Boolean).join(": ") || "failed" }),
        make("i", { text: errors > 1 ? `Show the first of ${errors}` : "Show" }));
      alarm.addEventListener("click", () => reveal(cause.at));
    }
  }

  // ---- the waterfall -----------------------------------------------------------------------------------------

  const folded = new Set();
  const only = new Set();
  let query = "";
  let zoom = [0, total];
  let selected = -1;
  let tab = "overview";
  let shown = [];
  const hasChildren = (at) => spans[at].end > at + 1;

  const haystacks = spans.map((span) => [
    span.name, span.service, span.model, span.error_type, span.error, span.id, words[span.category],
    ...span.attributes ? span.attributes.map((pair) => pair.join(" ")) : [],
    ...(span.input || []).concat(span.output || []).map((turn) => `${turn.label || ""} ${turn.text}`),
  ].join("\n").toLowerCase());

  const rows = spans.map((span, at) => {
    const above = span.parent >= 0 ? spans[span.parent].service : "";
    const indent = make("span", { class: "indent" });
    indent.style.width = `${(span.depth || 0) * 13}px`;
    const fold = make("span", { class: "fold" });
    if (hasChildren(at)) {
      fold.append(svg("M6 4l4 4-4 4", 12));
      fold.addEventListener("click", (event) => { event.stopPropagation(); toggle(at); });
    }
    const bar = make("div", { class: "bar" });
    if (span.wait && span.length) {
      const wait = make("span", { class: "wait" });
      wait.style.width = `${Math.min(100, 100 * span.wait / span.length)}%`;
      bar.append(wait);
    }
    const spent = span.tokens && span.category === "model" ? `${tokens(span.tokens)} tok` : "";
    const length = make("span", { class: "length" }, span.duration, spent ? make("small", { text: spent }) : "");
    const row = tone(make("div", {
      class: span.failed ? "row bad" : "row", role: "row", id: `row-${at}`, "aria-level": (span.depth || 0) + 1,
      "aria-expanded": hasChildren(at) ? "true" : null, "aria-selected": "false",
      title: span.name,
      onclick: () => select(at),
      ondblclick: () => look(span.start, span.start + span.length),
    },
      make("div", { class: "name", role: "gridcell" }, indent, fold, dot(span.category),
        make("span", { class: "title", text: span.name }),
        span.service && span.service !== above ? make("span", { class: "tag", text: span.service }) : "",
        hasChildren(at) ? make("span", { class: "tag count", text: `+${span.end - at - 1}` }) : "",
        span.orphan ? make("span", { class: "tag warn", text: "parent not received" }) : ""),
      make("div", { class: "track", role: "gridcell", "aria-label": span.duration }, bar, length)), span.category);
    return { row, bar, length, letters: length.textContent.length, title: row.querySelector(".title") };
  });
  for (const { row } of rows) {
    byId("rows").append(row);
  }
  const empty = make("p", { class: "empty", text: "Nothing matches. Esc clears the search.", hidden: true });
  const cursor = make("div", { class: "cursor", hidden: true });
  byId("rows").append(empty, cursor);

  function matches(at) {
    const span = spans[at];
    if (only.size) {
      const wanted = [...only].some((kind) => kind === "errors" ? span.failed : kind === kindOf(span));
      if (!wanted) return false;
    }
    return !query || query.split(/\s+/).every((word) => haystacks[at].includes(word));
  }
  const kindOf = (span) => tones[span.category] || span.category;

  function marked(element, text) {
    element.textContent = "";
    const found = query ? text.toLowerCase().indexOf(query) : -1;
    if (found < 0 || text.toLowerCase().length !== text.length) return element.append(text);
    element.append(text.slice(0, found), make("mark", { text: text.slice(found, found + query.length) }),
      text.slice(found + query.length));
  }

  function draw() {
    const filtering = Boolean(query || only.size);
    const hit = spans.map((_, at) => matches(at));
    const keep = hit.slice();
    for (let at = spans.length - 1; at >= 0; at--) if (keep[at] && spans[at].parent >= 0) keep[spans[at].parent] = true;
    let skip = 0;
    shown = [];
    spans.forEach((span, at) => {
      const { row, title } = rows[at];
      const hidden = filtering ? !keep[at] : at < skip;
      if (!filtering && at >= skip && folded.has(at)) skip = span.end;
      row.hidden = hidden;
      row.classList.toggle("dim", filtering && !hit[at]);
      row.classList.toggle("folded", folded.has(at) && !filtering);
      if (hasChildren(at)) row.setAttribute("aria-expanded", String(filtering || !folded.has(at)));
      marked(title, span.name);
      if (!hidden) shown.push(at);
    });
    empty.hidden = shown.length > 0;
    const count = hit.filter(Boolean).length;
    byId("hits").textContent = filtering ? `${number(count)} of ${number(spans.length)}` : "";
    byId("fold").textContent = folded.size ? "Unfold all" : "Fold all";
  }

  // Room at the right for the figure of a bar that ends with the request.
  const MARGIN = 62;
  function view() {
    const track = Math.max(MARGIN * 2, byId("ticks").clientWidth);
    return { track, from: zoom[0], width: (zoom[1] - zoom[0]) * track / (track - MARGIN) };
  }

  function scale() {
    const { track, from, width } = view();
    const to = from + width;
    const rough = width / 5;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.8) || power * 10;
    const ticks = byId("ticks");
    ticks.textContent = "";
    for (let at = Math.ceil(from / step - 1e-9) * step; at < to - step * 0.15; at += step) {
      const tick = make("span", { text: time(Math.abs(at) < step / 1e6 ? 0 : at, step) });
      tick.style.left = `${100 * (at - from) / width}%`;
      ticks.append(tick);
    }
    const pane = byId("rows");
    pane.style.setProperty("--step", `${track * step / width}px`);
    pane.style.setProperty("--shift", `${-track * (from % step) / width}px`);
    spans.forEach((span, at) => {
      const { bar, length, letters } = rows[at];
      const left = 100 * (span.start - from) / width;
      const size = 100 * (span.length || 0) / width;
      bar.style.left = `${left}%`;
      bar.style.width = `${size}%`;
      const end = left + size;
      const room = 100 * (20 + 6.4 * letters) / track;
      length.className = end + room <= 100 ? "length" : left >= room && left <= 100 ? "length before" : "length inside";
      length.style.left = `${length.className === "length" ? Math.max(0, end)
        : length.className === "length before" ? left : Math.min(100, end)}%`;
    });
    byId("reset").hidden = zoom[0] <= 0 && zoom[1] >= total;
  }

  function look(from, to) {
    const slack = Math.max((to - from) * 0.04, total / 1e5);
    zoom = [Math.max(0, from - slack), Math.min(total, to + slack)];
    scale();
  }

  function toggle(at) {
    if (!hasChildren(at)) return;
    if (!folded.delete(at)) folded.add(at);
    draw();
  }

  function reveal(at) {
    for (let above = spans[at].parent; above >= 0; above = spans[above].parent) folded.delete(above);
    if (!matches(at)) {
      only.clear();
      query = byId("search").value = "";
      pressed();
    }
    draw();
    select(at);
  }

  function select(at, still) {
    if (selected >= 0) {
      rows[selected].row.classList.remove("on");
      rows[selected].row.setAttribute("aria-selected", "false");
    }
    const opened = selected < 0;
    selected = at;
    if (at < 0) {
      byId("detail").hidden = true;
      byId("main").classList.remove("open");
      byId("rows").removeAttribute("aria-activedescendant");
      return scale();
    }
    rows[at].row.classList.add("on");
    rows[at].row.setAttribute("aria-selected", "true");
    byId("rows").setAttribute("aria-activedescendant", `row-${at}`);
    byId("main").classList.add("open");
    detail(at);
    if (opened) scale();
    if (still) return;
    rows[at].row.scrollIntoView({ block: "nearest" });
    try { history.replaceState(null, "", `#${spans[at].id}`); } catch { /* not every place a file is opened from allows it */ }
  }

  // ---- one span ----------------------------------------------------------------------------------------------

  function table(pairs) {
    return make("table", {}, make("tbody", {}, ...pairs.map(([key, value]) => make("tr", {},
      make("td", { text: key }), make("td", { text: value, title: "Click to copy", onclick: () => copy(value) })))));
  }

  function turns(list) {
    return list.map((turn) => {
      const who = make("div", { class: "who" });
      if (turn.role === "document") {
        who.append(make("span", { text: turn.label || "document" }));
        if (turn.score !== undefined) {
          const level = make("i");
          level.style.width = `${100 * Math.max(0, Math.min(1, turn.score))}%`;
          who.append(make("span", { class: "score" }, level), make("span", { text: turn.score.toFixed(2) }));
        }
      } else if (turn.role !== "value" || turn.label) {
        who.append(turn.role === "value" ? "" : make("b", { text: turn.role }), turn.label || "");
      }
      who.append(make("button", { class: "quiet", text: "Copy", onclick: () => copy(turn.text) }));
      return make("div", { class: `turn ${turn.role}` }, who,
        make("div", { class: turn.code ? "said code" : "said", text: turn.text || "(empty)" }));
    });
  }

  function overview(span) {
    const list = make("dl", { class: "facts" });
    const fact = (title, value, small) => value !== undefined && value !== "" && value !== null
      ? list.append(make("div", {}, make("dt", { text: title }),
        make("dd", { text: value }, small ? make("small", { text: ` ${small}` }) : "")))
      : undefined;
    const part = 100 * (span.length || 0) / total;
    fact("Duration", span.duration, `${part < 1 ? "<1" : Math.round(part)} %`);
    fact("Starts", span.start ? `+${time(span.start)}` : "at the beginning");
    if (hasChildren(spans.indexOf(span))) fact("Own time", span.own, `${Math.round(100 * (span.own_part || 0))} %`);
    fact("First chunk", span.first_chunk);
    if (span.tokens) {
      fact("Tokens", tokens(span.tokens), span.tokens[1] ? "in → out" : "");
      const writing = (span.length || 0) - (span.wait || 0);
      if (span.category === "model" && span.tokens[1] && writing > 0 && span.wait) {
        fact("Speed", `${Math.round(1000 * span.tokens[1] / writing)} tokens/s`);
      }
    }
    fact("Cost", span.cost);
    fact("Model", span.model, span.provider);
    fact("Finished", span.finish);
    fact("Status", span.status);
    fact("Service", span.service);
    fact("Kind", span.kind);
    const parts = [];
    if (span.failed) {
      const stack = (span.events || []).flatMap((event) => event.attributes)
        .find(([key]) => key === "exception.stacktrace");
      parts.push(make("div", { class: "error", role: "alert" }, make("b", { text: span.error_type || "Failed" }),
        span.error ? make("p", { text: span.error }) : "",
        stack ? make("details", {}, make("summary", { text: "Where it happened" }), make("pre", { text: stack[1] })) : ""));
    }
    parts.push(list);
    const peek = (name, title, turn) => turn && parts.push(make("h3", { text: title }),
      make("button", { class: `peek turn ${turn.role}`, title: "Read all", onclick: () => byId(`tab-${name}`).click() },
        make("div", { class: turn.code ? "said code" : "said", text: turn.text.slice(0, 1200) })));
    peek("input", span.input_title, (span.input || []).findLast((turn) => turn.role === "user") || (span.input || []).at(-1));
    peek("output", span.output_title, (span.output || [])[0]);
    const speaks = ["model", "tool", "retrieval", "agent", "embedding", "rerank"].includes(span.category);
    if (speaks && !span.input && !span.output && !trace.has_content) {
      parts.push(make("p", { class: "hint" }, "Prompts and answers were not recorded. To see them here, set ",
        make("code", { text: "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=SPAN_ONLY" }), " in Dify's environment."));
    }
    return parts;
  }

  function attributes(span) {
    const parts = [];
    if (span.attributes) parts.push(table(span.attributes));
    parts.push(make("h3", { text: "Where it comes from" }), table([
      ["span id", span.id], ...span.parent_id ? [["parent span id", span.parent_id]] : [],
      ...span.scope ? [["instrumentation", span.scope]] : [], ...trace.resources[span.resource || 0]]));
    return parts;
  }

  function events(span) {
    return span.events.map((event) => make("div", { class: "event" },
      make("p", { text: event.name }, make("small", { text: ` +${time(event.at || 0)}` })),
      event.attributes && event.attributes.length ? table(event.attributes) : ""));
  }

  function links(span) {
    return span.links.map((link) => {
      const inside = spans.findIndex((other) => other.id === link.span && link.trace === trace.id);
      return make("div", { class: "event" },
        inside >= 0
          ? make("p", {}, make("button", { text: `→ ${spans[inside].name}`, onclick: () => reveal(inside) }))
          : make("p", { text: "Another trace" }),
        table([["trace id", link.trace], ["span id", link.span], ...(link.attributes || [])]));
    });
  }

  function detail(at) {
    const span = spans[at];
    const pane = byId("detail");
    pane.hidden = false;
    pane.textContent = "";
    tone(pane, span.failed ? "bad" : span.category);
    const place = make("i");
    place.style.left = `${100 * span.start / total}%`;
    place.style.width = `${100 * (span.length || 0) / total}%`;
    pane.append(make("div", { class: "detail-head" },
      make("div", { class: "line" }, dot(span.failed ? "bad" : span.category), words[span.category] || span.category,
        make("span", { class: "grow" }),
        make("button", { class: "quiet close", "aria-label": "Close", title: "Close (Esc)", text: "×", onclick: () => select(-1) })),
      make("h2", { text: span.name }), make("div", { class: "place" }, place)));

    const tabs = [["overview", "Overview", () => overview(span)]];
    if (span.input) tabs.push(["input", span.input_title, () => turns(span.input)]);
    if (span.output) tabs.push(["output", span.output_title, () => turns(span.output)]);
    tabs.push(["attributes", "Attributes", () => attributes(span), (span.attributes || []).length]);
    if (span.events) tabs.push(["events", "Events", () => events(span), span.events.length]);
    if (span.links) tabs.push(["links", "Links", () => links(span), span.links.length]);

    const panel = make("div", { class: "panel", role: "tabpanel", id: "panel", tabindex: "0" });
    const bar = make("div", { class: "tabs", role: "tablist", "aria-label": "About this span" });
    const open = (name) => {
      const current = tabs.find(([key]) => key === name) || tabs[0];
      for (const button of bar.children) {
        const on = button.dataset.tab === current[0];
        button.setAttribute("aria-selected", String(on));
        button.tabIndex = on ? 0 : -1;
        if (on) panel.setAttribute("aria-labelledby", button.id);
      }
      panel.textContent = "";
      panel.append(...current[2]());
      panel.scrollTop = 0;
    };
    for (const [key, title, , count] of tabs) {
      bar.append(make("button", {
        role: "tab", id: `tab-${key}`, "data-tab": key, "aria-controls": "panel",
        onclick: () => { tab = key; open(key); },
        onkeydown: (event) => {
          const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
          if (!move) return;
          event.preventDefault();
          event.stopPropagation();
          const here = [...bar.children].indexOf(event.currentTarget);
          const next = bar.children[(here + move + bar.children.length) % bar.children.length];
          next.click();
          next.focus();
        },
      }, title, count ? make("small", { text: count }) : ""));
    }
    pane.append(bar, panel);
    open(tab);
  }

  // ---- finding -----------------------------------------------------------------------------------------------

  function pressed() {
    for (const button of byId("kinds").children) button.setAttribute("aria-pressed", String(only.has(button.dataset.kind)));
  }

  function kinds() {
    const counts = new Map();
    for (const span of spans) counts.set(kindOf(span), (counts.get(kindOf(span)) || 0) + 1);
    const chip = (kind, title, count) => byId("kinds").append(make("button", {
      "data-kind": kind, "aria-pressed": "false",
      onclick: () => { if (!only.delete(kind)) only.add(kind); pressed(); draw(); },
    }, dot(kind === "errors" ? "bad" : kind), title, make("small", { text: count })));
    const wanted = ["model", "agent", "tool", "retrieval", "node", "client", "database"];
    for (const kind of wanted) if (counts.has(kind)) chip(kind, words[kind], counts.get(kind));
    const failed = spans.filter((span) => span.failed).length;
    if (failed) chip("errors", failed === 1 ? "Error" : "Errors", failed);
  }

  byId("search").addEventListener("input", (event) => {
    query = event.target.value.trim().toLowerCase();
    draw();
  });
  byId("search").addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.target.value = query = "";
      draw();
      byId("rows").focus();
    } else if (event.key === "Enter") {
      const found = shown.filter((at) => matches(at));
      if (found.length) select(found[(found.indexOf(selected) + (event.shiftKey ? found.length - 1 : 1)) % found.length]);
    } else if (event.key === "ArrowDown") {
      event.preventDefault();
      byId("rows").focus();
    }
    event.stopPropagation();
  });
  byId("fold").addEventListener("click", () => {
    if (folded.size) folded.clear();
    else spans.forEach((span, at) => { if (hasChildren(at) && (span.depth || 0) >= 2) folded.add(at); });
    draw();
  });
  byId("reset").addEventListener("click", () => { zoom = [0, total]; scale(); });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, .tabs, summary")) return;
    const here = shown.indexOf(selected);
    const actions = {
      "/": () => byId("search").focus(),
      ArrowDown: () => select(shown[Math.min(shown.length - 1, here + 1)] ?? -1),
      ArrowUp: () => select(shown[Math.max(0, here - 1)] ?? -1),
      Home: () => select(shown[0] ?? -1),
      End: () => select(shown[shown.length - 1] ?? -1),
      ArrowRight: () => { if (folded.has(selected)) toggle(selected); else if (selected >= 0 && hasChildren(selected)) select(shown[here + 1] ?? selected); },
      ArrowLeft: () => { if (selected >= 0 && hasChildren(selected) && !folded.has(selected)) toggle(selected); else if (selected >= 0 && spans[selected].parent >= 0) select(spans[selected].parent); },
      e: () => { const bad = trace.failures.map((failure) => failure.at).sort((a, b) => a - b); if (bad.length) reveal(bad.find((at) => at > selected) ?? bad[0]); },
      Escape: () => select(-1),
    };
    const action = actions[event.key] || actions[event.key.toLowerCase()];
    if (action && !(event.target.closest(".panel") && event.key.startsWith("Arrow"))) {
      event.preventDefault();
      action();
    }
  });

  // ---- pointer: a line under the hand, closer looks, the width of the names ----------------------------------

  const moment = (event) => {
    const box = byId("ticks").getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    const { from, width } = view();
    return { share, at: Math.min(total, from + Math.max(0, Math.min(1, share)) * width) };
  };
  const now = make("span", { class: "now" });
  byId("rows").addEventListener("pointermove", (event) => {
    const { share, at } = moment(event);
    const inside = share >= 0 && share <= 1;
    cursor.hidden = !inside;
    if (!inside) return now.remove();
    const pane = byId("rows").getBoundingClientRect();
    cursor.style.left = `${event.clientX - pane.left}px`;
    cursor.style.height = `${byId("rows").scrollHeight}px`;
    now.textContent = time(at, (zoom[1] - zoom[0]) / 200);
    now.style.left = `${share * 100}%`;
    byId("ticks").append(now);
  });
  byId("rows").addEventListener("pointerleave", () => { cursor.hidden = true; now.remove(); });

  byId("ticks").addEventListener("pointerdown", (event) => {
    const ticks = byId("ticks");
    const from = moment(event);
    const range = make("div", { class: "range" });
    ticks.append(range);
    ticks.setPointerCapture(event.pointerId);
    const drag = (next) => {
      const to = moment(next);
      range.style.left = `${100 * Math.min(from.share, to.share)}%`;
      range.style.width = `${100 * Math.abs(to.share - from.share)}%`;
    };
    const drop = (last) => {
      ticks.removeEventListener("pointermove", drag);
      range.remove();
      const ends = [from.at, moment(last).at].sort((a, b) => a - b);
      if (last.type === "pointerup" && Math.abs(moment(last).share - from.share) > 0.01) {
        zoom = ends;
        scale();
      }
    };
    ticks.addEventListener("pointermove", drag);
    ticks.addEventListener("pointerup", drop, { once: true });
  });

  byId("grip").addEventListener("pointerdown", (event) => {
    const grip = byId("grip");
    grip.setPointerCapture(event.pointerId);
    grip.classList.add("held");
    const drag = (next) => {
      const pane = byId("rows").getBoundingClientRect();
      const share = Math.max(0.15, Math.min(0.8, (next.clientX - pane.left) / (pane.width - 12)));
      widths(share);
    };
    const drop = () => { grip.removeEventListener("pointermove", drag); grip.classList.remove("held"); };
    grip.addEventListener("pointermove", drag);
    grip.addEventListener("pointerup", drop, { once: true });
  });

  function widths(share) {
    document.documentElement.style.setProperty("--names", `calc((100% - 12px) * ${share})`);
    document.documentElement.style.setProperty("--share", String(share));
    scale();
  }

  // ---- begin -------------------------------------------------------------------------------------------------

  // A loop over the database is one thing to see, not forty.
  spans.forEach((span, at) => {
    const below = spans.slice(at + 1, span.end);
    if (below.length >= 4 && below.every((one) => one.name === below[0].name && !one.failed)) folded.add(at);
  });
  summary();
  kinds();
  draw();
  widths(innerWidth < 700 ? 0.5 : 0.42);
  addEventListener("resize", scale);
  const asked = spans.findIndex((span) => span.id === location.hash.slice(1));
  const models = spans.map((_, at) => at).filter((at) => spans[at].category === "model");
  const slowest = models.sort((a, b) => (spans[b].length || 0) - (spans[a].length || 0))[0];
  if (asked >= 0) reveal(asked);
  else select(trace.failures.length ? trace.failures[0].at : slowest ?? 0, true);
})();
