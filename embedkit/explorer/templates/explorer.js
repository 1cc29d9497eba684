"use strict";
/*
The explorer's page. Everything it shows comes from the server that sent it; names are set as text
only. A view is a function that fills <main>; the part of the address after # says which one.
*/
(() => {
  const start = JSON.parse(document.getElementById("data").textContent);
  const at = `/at/${start.stamp}/`;
  const main = document.getElementById("main");
  const MARKS = { present: ["!", "present"], absent: ["✓", "absent"], inconclusive: ["?", "inconclusive"], not_run: ["–", "not run"] };
  const TITLES = {
    twins: "Copies of one photograph",
    siblings: "The same people in train and test",
    leakage: "Test pictures with a relative in train",
    ledger: "What the accuracy rests on",
    parity: "The same answer when a picture is read again",
    shortcuts: "What the file gives away",
    labels: "Labels that look wrong",
    bias: "Groups that fare worse",
    quality: "Spoilt pictures",
  };
  const ASK = {
    twins: "Are these copies of one photograph?",
    siblings: "Do these show the same person?",
    labels: "Is the label wrong?",
    quality: "Is the picture spoilt as it says?",
  };
  const KEYS = { 1: "real", 2: "not real", 3: "unsure" };
  const EMPTY = "(none)";
  let shown = []; // rows of the list that a picture was opened from
  let keys = {}; // what letters do in this view
  let view = 0; // counts views, so that a late answer fills none but its own

  function el(tag, properties, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties || {})) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (name in made && name !== "list") made[name] = value;
      else made.setAttribute(name, value);
    }
    made.append(...children.flat().filter((one) => one !== null && one !== undefined));
    return made;
  }

  const count = (n) => n.toLocaleString("en");
  const many = (n, one, more) => `${count(n)} ${n === 1 ? one : more || one + "s"}`;

  function say(text) {
    document.getElementById("said").textContent = text;
  }

  function trouble(error) {
    const box = document.getElementById("trouble");
    box.replaceChildren(error.message);
    if (error.changed) box.append(el("button", { onclick: () => location.reload() }, "Load again"));
    box.hidden = false;
  }

  class Refusal extends Error {
    constructor(message, changed) {
      super(message);
      this.changed = changed;
    }
  }

  async function answer(address, options) {
    let response;
    try {
      response = await fetch(address, options);
    } catch {
      throw new Refusal("The server does not answer: 'embedkit view' has ended.", false);
    }
    const found = await response.json().catch(() => ({ error: `the server said ${response.status}` }));
    if (!response.ok) throw new Refusal(found.error, found.changed);
    return [found, response.status];
  }

  const ask = async (path, parameters) => {
    const given = Object.entries(parameters || {}).filter(([, value]) => value !== null && value !== undefined);
    return (await answer(at + path + (given.length ? "?" + new URLSearchParams(given) : "")))[0];
  };

  const send = async (path, body) =>
    (await answer(at + path, { method: "POST", body, headers: { "X-Embedkit-Writing": start.writing } }))[0];

  // Ask again and again for what takes long.
  async function patiently(path, still, waiting) {
    for (;;) {
      const [found, status] = await answer(at + path);
      if (status !== 202) return found;
      if (!still()) return null;
      waiting(found);
      await new Promise((done) => setTimeout(done, 700));
    }
  }

  const address = (row, large) => `${at}picture/${row}${large ? "?size=large" : ""}`;

  function image(one, large) {
    if (one.row === null) return el("div", { className: "none" }, "not in the store");
    return el("img", { src: address(one.row, large), alt: "", loading: "lazy", width: 160, height: 160, decoding: "async" });
  }

  function caption(one) {
    const label = one.label === null ? "no label" : one.label;
    return [
      el("span", { className: "words" }, el("bdi", {}, label), ` · ${one.split || "no split"}`),
      one.similarity === undefined ? null : el("span", {}, `similarity ${one.similarity.toFixed(3)}`),
      el("span", { className: "id" }, one.id),
    ];
  }

  function tile(one, list) {
    const open = () => {
      shown = list();
      location.hash = `picture/${one.row}`;
    };
    return el("li", {}, el("button", { className: "tile", type: "button", onclick: open }, image(one), caption(one)));
  }

  function grid(pictures) {
    const made = el("ul", { className: "grid" });
    const rows = [];
    made.add = (more) => {
      const known = more.filter((one) => one.row !== null);
      rows.push(...known.map((one) => one.row));
      made.append(...known.map((one) => tile(one, () => rows)));
    };
    made.add(pictures);
    return made;
  }

  function heading(text) {
    document.title = `${text} – ${start.name}: embedkit view`;
    const made = el("h2", { tabIndex: -1 }, text);
    queueMicrotask(() => made.focus({ preventScroll: true }));
    return made;
  }

  function choice(label, values, chosen, change, all) {
    const select = el("select", { "aria-label": label, onchange: () => change(select.value === "*" ? null : select.value) });
    select.append(new Option(all, "*"));
    for (const [value, n] of values) select.append(new Option((value || EMPTY) + (n === null ? "" : ` (${count(n)})`), value));
    select.value = chosen === null || chosen === undefined ? "*" : chosen;
    return el("label", {}, label, select);
  }

  // ---- findings

  function findings() {
    const lead = start.findings.length
      ? "What the last audit of this store found. Look at what it lists and tick what is real: that says how far the list can be believed."
      : null;
    main.append(heading("Findings"));
    if (start.damaged.length)
      main.append(el("p", { className: "lead" }, `Damaged and left out: ${start.damaged.join(", ")}; 'embedkit audit' makes them anew.`));
    if (!start.findings.length) {
      main.append(
        el("p", { className: "lead" }, "No audit of this store, with this label and space, is kept. Run"),
        el("pre", {}, `embedkit audit ${start.store} -b ${start.space}` + (start.label === "label" ? "" : ` --label ${start.label}`)),
        el("p", { className: "lead" }, "and load this page again. Pictures, search and map work without it."),
      );
      return;
    }
    main.append(el("p", { className: "lead" }, lead));
    main.append(el("ul", { className: "findings" }, start.findings.map(finding)));
  }

  function finding(one) {
    const [mark, verdict] = MARKS[one.verdict];
    const [first, ...rest] = one.summary.split(/(?<=[.]) (?=[A-Z])/);
    const review = one.reviewed;
    const todo = el("div", { className: "todo" });
    if (review) {
      const noun = { twins: "pair", siblings: "pair", labels: "label", quality: "picture" }[one.name];
      todo.append(
        el("button", { className: "main", onclick: () => (location.hash = `review/${one.name}`) }, `Judge ${many(review.listed, noun)}`),
      );
      if (review.listed > start.sample)
        todo.append(el("button", { onclick: () => (location.hash = `review/${one.name}/sample`) }, `Judge a random sample of ${start.sample}`));
    }
    if (one.named)
      todo.append(el("button", { onclick: () => (location.hash = "pictures?" + new URLSearchParams({ finding: one.name })) }, `Show ${many(one.named, "picture")}`));
    return el(
      "li",
      {},
      el("span", { className: `verdict ${one.verdict}` }, el("b", { "aria-hidden": "true" }, mark), verdict),
      el(
        "div",
        {},
        el("h3", {}, TITLES[one.name], el("span", { className: "soft" }, ` (${one.name})`)),
        el("p", { className: "words" }, first),
        rest.length ? el("details", {}, el("summary", {}, "More"), el("p", { className: "words" }, rest.join(" "))) : null,
        review ? el("p", { className: "soft" }, review.sentence) : null,
      ),
      todo,
    );
  }

  // ---- pictures

  // Filters of pictures; a change of one leads to the same view with it in the address.
  function filters(to, wanted) {
    const again = (change) => {
      const next = Object.entries({ ...wanted, ...change }).filter(([, value]) => value !== null && value !== undefined);
      location.hash = next.length ? `${to}?` + new URLSearchParams(next) : to;
    };
    const names = Object.keys(start.attributes);
    const made = el("div", { className: "bar" });
    made.append(choice("Split", start.splits, wanted.split, (split) => again({ split }), "all"));
    made.append(choice(start.label === "label" ? "Label" : `Label (${start.label})`, start.labels, wanted.label, (label) => again({ label }), "all"));
    if (names.length)
      made.append(choice("Attribute", names.map((name) => [name, null]), wanted.attribute, (attribute) => again({ attribute, value: attribute && start.attributes[attribute][0][0] }), "any"));
    if (start.attributes[wanted.attribute])
      made.append(choice(wanted.attribute, start.attributes[wanted.attribute], wanted.value, (value) => again({ value, attribute: value === null ? null : wanted.attribute }), "any"));
    const naming = start.findings.filter((one) => one.named);
    if (naming.length)
      made.append(choice("Named by", naming.map((one) => [one.name, one.named]), wanted.finding, (finding) => again({ finding }), "any finding or none"));
    if (wanted.text) made.append(el("span", { className: "words" }, `with “${wanted.text}” in the id`));
    if (Object.keys(wanted).length) made.append(el("button", { onclick: () => (location.hash = to) }, "Clear filters"));
    const other = to === "pictures" ? "map" : "pictures";
    made.append(el("a", { href: `#${other}?` + new URLSearchParams(wanted) }, to === "pictures" ? "The same on the map" : "The same as a list"));
    return made;
  }

  async function pictures(asked, mine) {
    const wanted = Object.fromEntries(new URLSearchParams(asked));
    main.append(heading("Pictures"), filters("pictures", wanted));
    const found = await ask("pictures", wanted);
    if (mine !== view) return;
    main.append(el("p", { role: "status" }, `${many(found.total, "picture")}.`));
    if (!found.total && wanted.text) main.append(el("p", {}, "An id is the path of a picture in the data set; its beginning, its end or any part of it will do."));
    const all = grid(found.pictures);
    main.append(all);
    further(all, found.pictures.length, found.total, async (offset) => {
      const next = await ask("pictures", { ...wanted, offset });
      all.add(next.pictures);
      return next.pictures.length;
    });
  }

  async function selected(mine) {
    main.append(heading("Selected on the map"));
    if (!chosen.length) return main.append(el("p", {}, "Nothing is selected: draw around pictures on the map first."));
    main.append(el("p", {}, `${many(chosen.length, "picture")}.`));
    const all = grid([]);
    const load = async (offset) => {
      const next = await ask("some", { rows: chosen.slice(offset, offset + start.page).join(",") });
      if (mine === view) all.add(next.pictures);
      return next.pictures.length;
    };
    main.append(all);
    further(all, await load(0), chosen.length, load);
  }

  // ---- the map

  let chosen = []; // rows that were selected on the map
  let made = null; // the map, once it is there: {root, map, rows, points}

  async function mapped(asked, place, mine) {
    const wanted = Object.fromEntries(new URLSearchParams(asked));
    const beside = el("div", { className: "beside" }, heading("Map"), filters("map", wanted));
    main.className = "whole";
    main.append(beside);
    if (!made) {
      const waiting = el("p", { role: "status" }, "The map is being laid out…");
      beside.append(waiting);
      const found = await patiently("map", () => mine === view, (now) => {
        const what = now.before ? `${many(now.before, "request")} before it` : now.stage || "starting";
        waiting.textContent = `The map is being laid out, once for this run: ${what}, ${Math.round(now.seconds)} s.`;
      });
      if (found === null || mine !== view) return;
      waiting.remove();
      const root = el("div", { className: "map" });
      const look = el("button", { disabled: true, onclick: () => (location.hash = "selected") }, "Look at the selected pictures");
      const points = new Map(found.rows.map((row, point) => [row, point]));
      const about = [
        el("details", {}, el("summary", {}, "How this map was made, and how far to trust it"), el("p", {}, found.method), el("ul", {}, found.honesty.map((one) => el("li", {}, one)))),
        el("p", {}, "Draw around pictures with the lasso to look at them. ", look),
      ];
      made = { root, about, rows: found.rows, points, map: null, data: found.data, look };
    }
    beside.append(...made.about);
    main.append(made.root);
    if (!made.map) {
      const rows = made.rows;
      made.map = new EmbedMap(made.root, made.data, {
        picture: (point) => address(rows[point]),
        click: (point) => {
          shown = [];
          made.map.card.append(el("p", {}, el("a", { href: `#picture/${rows[point]}` }, "Open this picture")));
        },
        select: (points) => {
          chosen = Array.from(points, (point) => rows[point]);
          made.look.disabled = !chosen.length;
          made.look.textContent = chosen.length ? `Look at the ${many(chosen.length, "selected picture")}` : "Look at the selected pictures";
        },
      });
    }
    const filtered = Object.keys(wanted).length > 0;
    const rows = filtered ? (await ask("rows", wanted)).rows : null;
    if (mine !== view) return;
    const points = (some) => some.map((row) => made.points.get(row)).filter((point) => point !== undefined);
    made.map.only(rows && points(rows));
    if (place !== undefined && made.points.has(Number(place))) made.map.show(made.points.get(Number(place)));
  }

  // A button that brings the next page, as long as there is one.
  function further(after, have, total, load) {
    if (have >= total) return;
    const button = el("button", { className: "more", onclick: more }, `Show more (${count(total - have)} left)`);
    after.after(button);
    async function more() {
      button.disabled = true;
      try {
        have += await load(have);
      } catch (error) {
        trouble(error);
      }
      button.disabled = false;
      button.textContent = `Show more (${count(total - have)} left)`;
      button.hidden = have >= total;
    }
  }

  // ---- one picture

  async function picture(row, mine) {
    const one = await ask(`facts/${row}`);
    if (mine !== view) return;
    const place = shown.indexOf(one.row);
    const step = (by) => {
      if (place >= 0 && shown[place + by] !== undefined) location.hash = `picture/${shown[place + by]}`;
    };
    keys = { j: () => step(1), k: () => step(-1), ArrowRight: () => step(1), ArrowLeft: () => step(-1) };
    const steps = el("div", { className: "bar" }, el("button", { onclick: () => history.back() }, "Back"), el("a", { href: `#map/${one.row}` }, "Show on the map"));
    if (place >= 0) {
      steps.append(
        el("button", { onclick: () => step(-1), disabled: place === 0 }, "Previous ", el("kbd", {}, "k")),
        el("button", { onclick: () => step(1), disabled: place + 1 === shown.length }, "Next ", el("kbd", {}, "j")),
        el("span", { className: "soft" }, `${place + 1} of ${shown.length}`),
      );
    }
    const facts = el("dl", {});
    for (const [name, value] of [["label", one.label === null ? "none" : one.label], ["split", one.split || "none"], ...Object.entries(one.facts)])
      facts.append(el("dt", {}, name), el("dd", {}, value));
    const said = el("div", {});
    if (one.findings.length) {
      said.append(el("h3", {}, "Named by"));
      said.append(
        el("ul", { className: "plain" }, one.findings.map((of) =>
          el("li", { className: "words" },
            of.number === null ? of.finding : el("a", { href: `#review/${of.finding}/at/${of.number}` }, of.finding), `: ${of.words}`))),
      );
    }
    for (const [kind, others] of Object.entries(one.clusters)) {
      said.append(el("h3", {}, `${kind === "copies" ? "Copies of it" : "The same group"} (${others.length})`), grid(others));
    }
    const near = el("div", {}, el("h3", {}, "Nearest pictures"), el("p", { className: "soft" }, "Looking…"));
    const verdict = el("div", {}, el("h3", {}, "Why does a head answer what it answers?"));
    const go = el("button", { className: "main", onclick: () => card(one.row, verdict, go, mine) }, "Show its verdict card");
    verdict.append(el("p", { className: "soft" }, start.findings.some((one) => one.name === "twins") ? "The first card trains heads, which takes a while; further ones take a second or two." : "The first card looks for copies, which takes as long as an audit of twins; further ones take a second or two."), go);
    main.append(
      steps,
      heading(one.id),
      el("div", { className: "one" }, el("div", {}, image(one, true), facts), el("div", {}, said, verdict, near)),
    );
    main.querySelector(".one img").alt = one.id;
    const found = await ask(`near/${row}`);
    if (mine !== view) return;
    near.lastChild.replaceWith(grid(found.pictures));
  }

  async function card(row, box, button, mine) {
    button.disabled = true;
    const status = el("p", { role: "status" }, "Working…");
    button.after(status);
    try {
      const found = await patiently(`card/${row}`, () => mine === view, (now) => {
        const before = now.before ? `, ${many(now.before, "request")} before it` : "";
        status.textContent = `Working: ${Math.round(now.seconds)} s${before}.`;
      });
      if (found === null || mine !== view) return;
      status.replaceWith(el("p", { className: "sentence words" }, found.card.sentence), el("pre", { tabIndex: 0, role: "region", "aria-label": "Verdict card" }, found.text));
      button.remove();
    } catch (error) {
      status.textContent = `No card: ${error.message}.`;
      button.disabled = false;
      if (error.changed) trouble(error);
    }
  }

  // ---- search

  async function nearest(title, load, mine, preview) {
    main.append(heading(title));
    if (preview) main.append(el("img", { className: "asked", src: preview, alt: "The picture that was searched for" }));
    const waiting = el("p", { className: "soft" }, "Searching…");
    main.append(waiting);
    const found = await load();
    if (mine !== view) return;
    waiting.replaceWith(el("p", {}, `The ${found.pictures.length} nearest of ${many(start.n, "picture")}, closest first.`), grid(found.pictures));
  }

  let uploaded = null; // the last picture that was searched for; it lives in this page only
  function search(file) {
    if (uploaded) URL.revokeObjectURL(uploaded.preview);
    uploaded = { file, preview: URL.createObjectURL(file), found: null };
    if (location.hash === "#like") route();
    else location.hash = "like";
  }

  const like = (mine) => {
    if (!uploaded) {
      main.append(heading("Search by picture"), el("p", { className: "lead" }, "Choose a picture with the button above, or drop one onto this page. It is compared and not kept."));
      return null;
    }
    const now = uploaded;
    return nearest("Nearest to your picture", async () => (now.found = now.found || (await send("like", now.file))), mine, now.preview);
  };

  const fits = (words, mine) => nearest(`Fits “${words}” best`, () => ask("text", { text: words }), mine);

  // ---- clusters

  async function clusters(kind, mine) {
    const kinds = Object.keys(start.clusters);
    main.append(heading("Clusters"));
    if (!kinds.length) {
      main.append(el("p", { className: "lead" }, "There are none: no kept audit lists copies, and the data set names no group (a person, a video) with several pictures."));
      return;
    }
    const names = { copies: "Copies of one photograph", people: start.clusters.people === null ? "People, by their faces" : "Groups that the data set names" };
    const now = kinds.includes(kind) ? kind : kinds[0];
    main.append(el("div", { className: "bar" }, kinds.map((one) =>
      el("button", { "aria-pressed": String(one === now), onclick: () => (location.hash = `clusters/${one}`) }, names[one] + (start.clusters[one] === null ? "" : ` (${count(start.clusters[one])})`)))));
    const waiting = el("p", { role: "status" });
    main.append(waiting);
    const found = await patiently(`clusters/${now}`, () => mine === view, (at) => (waiting.textContent = `Looking: ${Math.round(at.seconds)} s.`));
    if (found === null || mine !== view) return;
    waiting.textContent = `${many(found.total, "cluster")} of two pictures and more, the largest first.`;
    const box = el("div", {});
    const show = (many_) => many_.clusters.forEach((one) => {
      const cut = one.pictures.length < one.size ? `; the first ${one.pictures.length} are shown` : "";
      box.append(el("section", { className: "cluster" }, el("p", { className: "words" }, `${one.size} pictures; ${one.words}${cut}`), grid(one.pictures)));
    });
    show(found);
    main.append(box);
    further(box, found.clusters.length, found.total, async (offset) => {
      const next = await ask(`clusters/${now}`, { offset });
      show(next);
      return next.clusters.length;
    });
  }

  // ---- judging what a finding lists

  async function review(name, how, number, mine) {
    const sample = how === "sample";
    const asked = { sample: sample ? "yes" : null, kind: how === "kind" ? number : null };
    let found = await ask(`finding/${name}`, asked);
    if (mine !== view) return;
    const entries = found.entries;
    let now = Math.max(0, entries.findIndex((one) => one.answer === null));
    if (how === "at") {
      // Bring as many pages as it takes.
      while (entries.length < found.total && !entries.some((one) => one.number === Number(number))) {
        const next = await ask(`finding/${name}`, { offset: entries.length });
        if (!next.entries.length || mine !== view) break;
        entries.push(...next.entries);
      }
      now = Math.max(0, entries.findIndex((one) => one.number === Number(number)));
    }
    const sentence = el("p", { className: "lead", role: "status" }, found.reviewed.sentence);
    const stage = el("div", {});
    const queue = el("ol", { className: "queue", "aria-label": "What is listed" });
    const modes = el("div", { className: "bar" });
    if (found.reviewed.listed > start.sample)
      modes.append(
        el("button", { "aria-pressed": String(!sample), onclick: () => (location.hash = `review/${name}`) }, `Whole list (${count(found.reviewed.listed)})`),
        el("button", { "aria-pressed": String(sample), onclick: () => (location.hash = `review/${name}/sample`) }, `Random sample (${start.sample})`));
    if (!sample && found.kinds.length > 1)
      modes.append(choice("Kind", found.kinds, asked.kind, (kind) => (location.hash = `review/${name}` + (kind === null ? "" : `/kind/${encodeURIComponent(kind)}`)), "all"));
    modes.append(el("a", { href: at + "reviews.csv", download: "reviews.csv" }, "Export all answers (CSV)"));
    main.append(heading(TITLES[name]), sentence, modes, el("div", { className: "judge" }, stage, queue));
    if (sample)
      sentence.before(el("p", { className: "lead soft" }, "Drawn at random from the whole list: judged in this order and without gaps, these make an honest estimate for all of it."));

    const badge = (one) => el("span", { className: `state ${one.answer === null ? "" : one.answer.split(" ")[0]}` }, one.answer || "");

    function line(one, place) {
      return el("li", {}, el("button", { onclick: () => go(place), "aria-label": `${place + 1}: ${one.words}${one.answer ? ", " + one.answer : ""}` },
        one.pictures.slice(0, 2).map((of) => image(of)), el("span", {}, String(place + 1)), badge(one)));
    }

    function refresh(place) {
      queue.children[place].replaceWith(line(entries[place], place));
      if (place === now) mark();
    }

    function mark() {
      for (const one of queue.querySelectorAll("[aria-current]")) one.removeAttribute("aria-current");
      const button = queue.children[now] && queue.children[now].firstChild;
      if (!button) return;
      button.setAttribute("aria-current", "true");
      // Not scrollIntoView: on a phone it would move the page away from the pictures.
      queue.scrollTop = button.parentNode.offsetTop - queue.offsetTop - queue.clientHeight / 3;
    }

    async function go(place) {
      if (place < 0 || place >= found.total) return;
      if (place >= entries.length) {
        const next = await ask(`finding/${name}`, { ...asked, offset: entries.length });
        if (mine !== view) return;
        entries.push(...next.entries);
        queue.append(...next.entries.map((one, step) => line(one, entries.length - next.entries.length + step)));
        if (place >= entries.length) return;
      }
      now = place;
      draw();
    }

    async function give(value) {
      const place = now, one = entries[place];
      try {
        const made = await send(`tick/${name}/${one.number}`, JSON.stringify({ answer: value }));
        one.answer = value;
        start.findings.find((other) => other.name === name).reviewed = made.reviewed;
        sentence.textContent = made.reviewed.sentence;
        refresh(place);
        if (value !== null && place === now && place + 1 < found.total) await go(place + 1);
        else draw();
      } catch (error) {
        trouble(error);
      }
    }

    function draw() {
      const one = entries[now];
      shown = entries.flatMap((of) => of.pictures.map((picture) => picture.row)).filter((row) => row !== null);
      const buttons = start.answers.map((value, place) =>
        el("button", { className: value.split(" ")[0], "aria-pressed": String(one.answer === value), onclick: () => give(value) }, value[0].toUpperCase() + value.slice(1) + " ", el("kbd", {}, String(place + 1))));
      stage.replaceChildren(
        el("h3", {}, ASK[name]),
        el("p", { className: "words" }, `${now + 1} of ${count(found.total)}: ${one.words}`),
        el("div", { className: "pictures" }, one.pictures.map((of, place) =>
          el("figure", {}, name === "labels" && one.pictures.length > 1 ? el("p", {}, ["The picture in question", "Its copy"][place]) : null, of.row === null ? image(of) : el("a", { href: `#picture/${of.row}`, "aria-label": `Open ${of.id}` }, image(of, true)), el("figcaption", {}, caption(of).map((part) => part && el("div", {}, part)))))),
        el("div", { className: "ticks", role: "group", "aria-label": ASK[name] }, buttons),
        el("div", { className: "bar" },
          el("button", { onclick: () => go(now - 1), disabled: now === 0 }, "Previous ", el("kbd", {}, "k")),
          el("button", { onclick: () => go(now + 1), disabled: now + 1 >= found.total }, "Next ", el("kbd", {}, "j")),
          el("button", { onclick: () => give(null), disabled: one.answer === null }, "Take back ", el("kbd", {}, "0"))),
      );
      mark();
    }

    queue.append(...entries.map(line));
    keys = { j: () => go(now + 1), k: () => go(now - 1), ArrowDown: () => go(now + 1), ArrowUp: () => go(now - 1), ArrowRight: () => go(now + 1), ArrowLeft: () => go(now - 1), 0: () => entries[now].answer !== null && give(null) };
    for (const [key, value] of Object.entries(KEYS)) keys[key] = () => give(value);
    if (entries.length) draw();
    else stage.append(el("p", {}, "Nothing of this kind is listed."));
  }

  // ---- the page

  const VIEWS = { findings: "Findings", pictures: "Pictures", clusters: "Clusters", map: "Map" };

  const KNOWN = [...Object.keys(VIEWS), "selected", "picture", "review", "like", "fits"];

  async function route() {
    const mine = ++view;
    const hash = decodeURIComponent(location.hash.slice(1).split("?")[0]);
    const asked = location.hash.split("?").slice(1).join("?");
    const [name, ...rest] = hash.split("/");
    const now = KNOWN.includes(name) ? name : start.findings.length ? "findings" : "pictures";
    keys = {};
    main.className = "";
    main.replaceChildren();
    document.getElementById("trouble").hidden = true;
    say("");
    for (const link of document.querySelectorAll("nav a")) {
      const own = link.hash.slice(1);
      if (own === now || (own === "findings" && now === "review") || (own === "map" && now === "selected")) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    try {
      if (now === "findings") findings();
      if (now === "pictures") await pictures(asked, mine);
      if (now === "selected") await selected(mine);
      if (now === "map") await mapped(asked, rest[0], mine);
      if (now === "picture") await picture(rest[0], mine);
      if (now === "clusters") await clusters(rest[0], mine);
      if (now === "review") await review(rest[0], rest[1], rest.slice(2).join("/"), mine);
      if (now === "like") await like(mine);
      if (now === "fits") await fits(rest.join("/"), mine);
    } catch (error) {
      if (mine === view) trouble(error);
    }
  }

  document.getElementById("name").textContent = start.name;
  document.getElementById("size").textContent = many(start.n, "picture") + (start.unreadable ? `, ${many(start.unreadable, "file")} unreadable` : "");
  document.getElementById("views").append(...Object.entries(VIEWS).map(([name, words]) => el("a", { href: `#${name}` }, words)));
  const how = document.getElementById("how"), words = document.getElementById("words");
  how.append(new Option("by id", "id"), new Option("by text", "text"));
  how.onchange = () => {
    const texts = how.value === "text";
    words.placeholder = texts ? "a person with glasses" : "part of an id";
    if (texts && !start.texts.length) {
      words.disabled = true;
      words.placeholder = "needs a space of clip";
      say("No space of this store knows texts: 'embedkit weights get clip', then 'embedkit embed SOURCE -o STORE -b clip', add one.");
    } else {
      words.disabled = false;
      say("");
    }
  };
  how.onchange();
  document.getElementById("search").onsubmit = (event) => {
    event.preventDefault();
    const given = words.value.trim();
    if (!given || words.disabled) return;
    if (how.value === "text") location.hash = `fits/${encodeURIComponent(given)}`;
    else location.hash = "pictures?" + new URLSearchParams({ text: given });
  };
  const upload = document.getElementById("upload");
  document.getElementById("choose").onclick = () => upload.click();
  upload.onchange = () => {
    if (upload.files.length) search(upload.files[0]);
    upload.value = "";
  };
  const drop = document.getElementById("drop");
  addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.hidden = ![...event.dataTransfer.types].includes("Files");
  });
  addEventListener("dragleave", (event) => (drop.hidden = event.relatedTarget === null || drop.hidden));
  addEventListener("drop", (event) => {
    event.preventDefault();
    drop.hidden = true;
    if (event.dataTransfer.files.length) search(event.dataTransfer.files[0]);
  });
  addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, textarea, .em");
    if (typing || event.ctrlKey || event.altKey || event.metaKey || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });
  document.querySelector(".skip").onclick = (event) => {
    event.preventDefault();
    main.focus();
  };
  // The token has done its work; it need not stay in the address.
  history.replaceState(null, "", "/" + location.hash);
  addEventListener("hashchange", route);
  route();
})();
