"use strict";
/*
EmbedMap: a map of pictures on a canvas, that can be moved, searched, coloured and lassoed.

  const map = new EmbedMap(root, data, hooks);

`root` is an empty element; EmbedMap fills it (toolbar, canvas, legend, selection) and styles it with
map.css. It asks no network for anything unless a hook names an address, sets text as text only,
and has no inline handler or style, so a strict Content-Security-Policy holds.

data (see embedkit/reports/map_data.py, which makes it):
  n         number of points
  xy        base64 of little-endian float32: x, y of each point; y grows upwards
  ids       [n] names, shown and exported
  added     [text] of the last points, which are new pictures drawn with another mark: what to say
            of each
  columns   [{name, group, note, kind: "category", values: [text], codes: base64 of int32 (-1: none),
              colours: [number of a palette colour; -1: the shared one; -2: `none`, for values of which
              there is nothing to say, drawn below the others]}
             {name, group, note, kind: "number", values: base64 of float32 (NaN: none)}]
  colour_by name of the column to begin with; empty where there are no columns
  palette   colours of categories; `other` the shared one; `none` of points without a value;
            `ramp` of numbers from low to high
  pairs     base64 of int32: two points each, to be joined by lines; `pairs_name` what they are
  missing   [text] what the map cannot show, and why
  sprites   null or {n, side, columns, rows, sheets: [address], tiles: base64 of int32 [n], number of
            the tile of each point (-1: none); a sheet holds columns * rows of them}

hooks, each may be left out; points are numbers from 0 to n - 1:
  picture(i)     address of the picture of a point, or null; comes before the sprite
  hover(i)       the pointer is over a point (-1: over none)
  click(i)       a point was clicked, tapped, or chosen in the list
  select(points) the selection changed; an array, [] when it was cleared

methods:
  select(points)      make these the selection
  show(i)             move to a point and show its card
  only(points)        show these points alone (null: all), besides what legend and text leave
  mark(points)        draw a ring around these points ([]: none)
  colourBy(name)      colour by a column
  setColumn(column)   add a column in the form of data.columns, or replace the one of that name
  setPairs(pairs)     replace the joined points: array of [i, j]
  fit(), redraw()
*/
const EmbedMap = (() => {
  const NEAR = 14; // pixels around the pointer
  const TILE = 44; // side of a picture on the map
  const MOST_TILES = 600; // with more points in view only dots are drawn
  const LISTED = 200;
  const LARGE = 132; // side of the picture in a card

  const bytes = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0)).buffer;

  function element(tag, properties, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties || {})) {
      if (name in made) made[name] = value;
      else made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  function channels(colour) {
    const number = parseInt(colour.slice(1), 16);
    return [number >> 16, (number >> 8) & 255, number & 255];
  }

  const packed = ([red, green, blue]) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;

  function mixed(colours, share) {
    const place = Math.min(Math.max(share, 0), 1) * (colours.length - 1);
    const left = Math.min(Math.floor(place), colours.length - 2);
    return colours[left].map((one, c) => Math.round(one + (colours[left + 1][c] - one) * (place - left)));
  }

  const hex = (rgb) => "#" + rgb.map((one) => one.toString(16).padStart(2, "0")).join("");
  const words = (value) => {
    if (Number.isInteger(value)) return value.toLocaleString("en");
    return Number(value.toPrecision(4)).toLocaleString("en", { maximumSignificantDigits: 4 });
  };
  const count = (n) => n.toLocaleString("en");

  // A cell that a spreadsheet would take for a formula begins with an apostrophe.
  function cell(value) {
    const text = String(value);
    return '"' + (/^'*[=+\-@\t\r\n]/.test(text) ? "'" : "") + text.replace(/"/g, '""') + '"';
  }

  function decoded(column) {
    if (column.kind === "number") {
      const values = new Float32Array(bytes(column.values));
      let low = Infinity, high = -Infinity;
      for (const one of values) {
        if (one < low) low = one;
        if (one > high) high = one;
      }
      return { ...column, values, low, high };
    }
    const codes = new Int32Array(bytes(column.codes));
    const counts = new Array(column.values.length).fill(0);
    let none = 0;
    for (const code of codes) code < 0 ? none++ : counts[code]++;
    return { ...column, codes, counts, none };
  }

  return class EmbedMap {
    constructor(root, data, hooks = {}) {
      this.root = root;
      this.data = data;
      this.hooks = hooks;
      this.n = data.n;
      this.old = data.n - (data.added || []).length;
      this.columns = data.columns.map(decoded);
      this.column = this.columns.find((one) => one.name === data.colour_by) || this.columns[0];
      this.pairs = new Int32Array(bytes(data.pairs || ""));
      this.tiles = data.sprites ? new Int32Array(bytes(data.sprites.tiles)) : null;
      this.sheets = data.sprites ? data.sprites.sheets.map((address) => this._image(address)) : [];
      this.pictures = new Map();
      this.shown = new Uint8Array(this.n).fill(1);
      this.chosen = new Uint8Array(this.n);
      this.selection = [];
      this.allowed = null;
      this.marked = [];
      this.hidden = new Set();
      this.query = "";
      this.tool = "move";
      this.hovered = -1;
      this.opened = -1;
      this.drawn = [];
      this.pointers = new Map();
      this.trace = null;
      this._places();
      this._order();
      this._build();
      this._listen();
      this._colours();
      this._legend();
      this._filter();
      this._list();
      new ResizeObserver(() => this._resize()).observe(this.canvas);
    }

    // ---- what is known of the points -------------------------------------------------------

    _places() {
      const xy = new Float32Array(bytes(this.data.xy));
      this.x = new Float32Array(this.n);
      this.y = new Float32Array(this.n);
      for (let i = 0; i < this.n; i++) {
        this.x[i] = xy[2 * i];
        this.y[i] = -xy[2 * i + 1];
      }
      let [left, right, top, bottom] = [Infinity, -Infinity, Infinity, -Infinity];
      for (let i = 0; i < this.n; i++) {
        left = Math.min(left, this.x[i]);
        right = Math.max(right, this.x[i]);
        top = Math.min(top, this.y[i]);
        bottom = Math.max(bottom, this.y[i]);
      }
      this.box = { left, top, width: right - left || 1, height: bottom - top || 1 };
      // Points by cell of a grid, each cell a list that is linked through `next`.
      this.grid = Math.max(1, Math.ceil(Math.sqrt(this.n / 4)));
      this.first = new Int32Array(this.grid * this.grid).fill(-1);
      this.next = new Int32Array(this.n);
      for (let i = 0; i < this.n; i++) {
        const at = this._cell(this.y[i], top, this.box.height) * this.grid + this._cell(this.x[i], left, this.box.width);
        this.next[i] = this.first[at];
        this.first[at] = i;
      }
    }

    _cell(value, start, size) {
      return Math.min(this.grid - 1, Math.max(0, Math.floor(((value - start) / size) * this.grid)));
    }

    // Drawn in an order that goes with nothing, so that no class always covers another.
    _order() {
      this.shuffled = Uint32Array.from({ length: this.n }, (_, i) => i);
      let state = 1;
      for (let i = this.n - 1; i > 0; i--) {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        const j = state % (i + 1);
        [this.shuffled[i], this.shuffled[j]] = [this.shuffled[j], this.shuffled[i]];
      }
    }

    _value(column, i) {
      if (column.kind === "number") return Number.isNaN(column.values[i]) ? null : words(column.values[i]);
      return column.codes[i] < 0 ? null : column.values[column.codes[i]];
    }

    _colours() {
      const { palette, other, none, ramp } = this.data;
      const column = this.column;
      this.rgb = new Array(this.n);
      const nothing = channels(none);
      if (!column) {
        this.rgb.fill(channels(palette[0]));
      } else if (column.kind === "number") {
        const stops = ramp.map(channels);
        const span = column.high - column.low || 1;
        const steps = Array.from({ length: 65 }, (_, step) => mixed(stops, step / 64));
        for (let i = 0; i < this.n; i++) {
          const value = column.values[i];
          this.rgb[i] = Number.isNaN(value) ? nothing : steps[Math.round((64 * (value - column.low)) / span)];
        }
      } else {
        const list = column.colours.map((one) => channels(one === -2 ? none : one < 0 ? other : palette[one]));
        for (let i = 0; i < this.n; i++) this.rgb[i] = column.codes[i] < 0 ? nothing : list[column.codes[i]];
      }
      this.ink = Uint32Array.from(this.rgb, packed);
      const faint = packed(nothing);
      this.order = [...this.shuffled.filter((i) => this.ink[i] === faint), ...this.shuffled.filter((i) => this.ink[i] !== faint)];
    }

    _haystack() {
      if (!this.texts) {
        const named = this.columns.filter((one) => one.kind === "category");
        this.texts = this.data.ids.map((id, i) =>
          [id, ...named.map((one) => this._value(one, i) || "")].join("\n").toLowerCase());
      }
      return this.texts;
    }

    _filter() {
      const codes = this.column && this.column.kind === "category" ? this.column.codes : null;
      const texts = this.query ? this._haystack() : null;
      this.count = 0;
      for (let i = 0; i < this.n; i++) {
        const left = (!this.allowed || this.allowed[i]) && !(codes && this.hidden.has(codes[i])) &&
          (!texts || texts[i].includes(this.query));
        this.shown[i] = left ? 1 : 0;
        this.count += this.shown[i];
      }
      this._say();
      this.redraw();
    }

    // ---- the page around the canvas ----------------------------------------------------------

    _build() {
      const name = `em${Math.floor(Math.random() * 1e9)}`;
      const button = (text, act, more) => {
        const made = element("button", { type: "button", textContent: text, ...more });
        made.addEventListener("click", act);
        return made;
      };
      const switched = (text, on, act) => {
        const box = element("input", { type: "checkbox", checked: on });
        box.addEventListener("change", () => act(box.checked));
        return element("label", { className: "em-check" }, box, text);
      };
      this.by = element("select", { className: "em-by" });
      this.by.addEventListener("change", () => this.colourBy(this.by.value));
      this._menu();
      this.find = element("input", { type: "search", className: "em-find", placeholder: "name or value" });
      this.find.addEventListener("input", () => {
        this.query = this.find.value.trim().toLowerCase();
        this._filter();
      });
      this.moveTool = button("Move", () => this._take("move"), { "aria-pressed": "true", title: "Drag moves the map (M)" });
      this.lassoTool = button("Lasso", () => this._take("lasso"), { "aria-pressed": "false", title: "Drag around points to select them (L)" });
      this.joined = this.pairs.length > 0 && this.pairs.length < 2000;
      this.join = switched("", this.joined, (on) => { this.joined = on; this.redraw(); });
      this.join.classList.add("em-join");
      this.pictured = true;
      const bar = element("div", { className: "em-bar" },
        element("label", {}, "Colour by ", this.by),
        element("label", {}, "Find ", this.find),
        element("div", { className: "em-tools", role: "group", "aria-label": "What dragging does" }, this.moveTool, this.lassoTool),
        button("Select what is in view", () => this._selectView(), { title: "S" }),
        element("div", { className: "em-tools", role: "group", "aria-label": "Zoom" },
          button("+", () => this._zoomBy(1.5), { "aria-label": "Zoom in" }),
          button("−", () => this._zoomBy(1 / 1.5), { "aria-label": "Zoom out" }),
          button("Fit", () => this.fit())),
        this.join);
      if (this.tiles || this.hooks.picture)
        bar.append(switched("Pictures", true, (on) => { this.pictured = on; this.redraw(); }));
      this.canvas = element("canvas", {
        className: "em-canvas", tabIndex: 0, role: "application", "aria-label": `Map of ${count(this.n)} pictures`,
        "aria-describedby": `${name}-help`,
      });
      this.context = this.canvas.getContext("2d");
      this.status = element("p", { className: "em-status", role: "status" });
      this.tip = element("div", { className: "em-tip", hidden: true });
      const help = element("p", { className: "em-help", id: `${name}-help` },
        "Drag to move, wheel or pinch to zoom, Shift and drag for a rectangle. Keys: arrows move, + and − zoom, 0 fits, " +
        "L lasso, M move, S selects what is in view, Escape clears. The selection is listed beside the map.");
      const stage = element("div", { className: "em-stage" }, this.canvas, this.tip);
      this.card = element("section", { className: "em-card", hidden: true, "aria-label": "The picture that was clicked" });
      this.key = element("section", { className: "em-key", "aria-label": "Legend" });
      this.csv = button("Save as CSV", () => this._save());
      this.clear = button("Clear", () => this.select([]));
      this.listHead = element("h2", { textContent: "Selection" });
      this.list = element("ul", { className: "em-list" });
      this.listNote = element("p", { className: "em-note" });
      const chosen = element("section", { className: "em-chosen", "aria-label": "Selection" },
        this.listHead, element("div", { className: "em-tools" }, this.csv, this.clear), this.listNote, this.list);
      const side = element("div", { className: "em-side", tabIndex: 0, role: "region", "aria-label": "Legend and selection" },
        this.card, this.key, chosen);
      if ((this.data.missing || []).length) {
        side.append(element("details", { className: "em-missing", open: true }, element("summary", {}, "Not on this map"),
          element("ul", {}, ...this.data.missing.map((text) => element("li", {}, text)))));
      }
      this.root.classList.add("em");
      this.root.replaceChildren(bar, element("div", { className: "em-main" }, stage, side), this.status, help);
      this._joinWords();
    }

    _joinWords() {
      const n = this.pairs.length / 2;
      const box = this.join.firstChild;
      box.disabled = n === 0;
      const what = this.data.pairs_name || "pairs";
      this.join.replaceChildren(box, n ? `Join ${what} (${count(n)} ${n === 1 ? "pair" : "pairs"})` : `Join ${what} (none known)`);
    }

    _menu() {
      const groups = new Map();
      for (const one of this.columns) {
        if (!groups.has(one.group)) groups.set(one.group, []);
        groups.get(one.group).push(one);
      }
      this.by.replaceChildren(...[...groups].map(([label, some]) => element("optgroup", { label },
        ...some.map((one) => element("option", { value: one.name, textContent: one.name })))));
      if (this.column) this.by.value = this.column.name;
    }

    _legend() {
      const column = this.column;
      if (!column) return this.key.replaceChildren();
      const rows = [element("h2", { textContent: column.name })];
      if (column.note) rows.push(element("p", { className: "em-note", textContent: column.note }));
      if (column.kind === "number") {
        const bar = element("div", { className: "em-ramp" });
        for (let step = 0; step < 24; step++) {
          const part = element("i");
          part.style.background = hex(mixed(this.data.ramp.map(channels), step / 23));
          bar.append(part);
        }
        const none = column.values.subarray(0, this.old).reduce((sum, one) => sum + (Number.isNaN(one) ? 1 : 0), 0);
        const ends = none === this.old ? ["no value", ""] : [words(column.low), words(column.high)];
        rows.push(bar, element("div", { className: "em-ends" }, element("span", {}, ends[0]), element("span", {}, ends[1])));
        if (none) rows.push(this._swatch(this.data.none, "no value", none));
      } else {
        const all = element("button", { type: "button", textContent: "All" });
        const nothing = element("button", { type: "button", textContent: "None" });
        all.addEventListener("click", () => this._hide(new Set()));
        nothing.addEventListener("click", () => this._hide(new Set([-1, ...column.values.keys()])));
        rows.push(element("div", { className: "em-tools" }, all, nothing));
        const entry = (code, text, n, colour) => {
          const made = this._swatch(colour, text, n, "button");
          made.type = "button";
          made.setAttribute("aria-pressed", String(!this.hidden.has(code)));
          made.addEventListener("click", () => {
            this.hidden.has(code) ? this.hidden.delete(code) : this.hidden.add(code);
            made.setAttribute("aria-pressed", String(!this.hidden.has(code)));
            this._filter();
          });
          return made;
        };
        const codes = [...column.values.keys()];
        const rank = (code) => (column.colours[code] < 0 ? -column.colours[code] : 0);
        codes.sort((a, b) => (rank(a) === 1) - (rank(b) === 1) || a - b);
        let shared = 0;
        for (const code of codes.slice(0, LISTED)) {
          const own = column.colours[code];
          if (own === -1 && !shared++) {
            const n = column.colours.filter((one) => one === -1).length;
            const what = n === 1 ? "1 more value is drawn in grey" : `${count(n)} more values share one grey`;
            rows.push(element("p", { className: "em-note", textContent: `${what}: there are ${this.data.palette.length} colours that can be told apart.` }));
          }
          rows.push(entry(code, column.values[code], column.counts[code], own === -2 ? this.data.none : own < 0 ? this.data.other : this.data.palette[own]));
        }
        if (codes.length > LISTED) {
          const more = count(codes.length - LISTED);
          rows.push(element("p", { className: "em-note", textContent: `${more} more values are not listed; Find knows them all.` }));
        }
        const none = column.none - (this.n - this.old); // new pictures have no value in any column
        if (none > 0) rows.push(entry(-1, "no value", none, this.data.none));
      }
      if (this.old < this.n) rows.push(element("p", { className: "em-note", textContent: `◇ new pictures: ${count(this.n - this.old)}, placed without moving the others` }));
      this.key.replaceChildren(...rows);
    }

    _swatch(colour, text, n, tag = "div") {
      const mark = element("i");
      mark.style.background = colour;
      return element(tag, { className: "em-entry" }, mark,
        element("span", { dir: "auto", textContent: text === "" ? "(empty)" : text }), element("b", { textContent: count(n) }));
    }

    _hide(codes) {
      this.hidden = codes;
      this._legend();
      this._filter();
    }

    _say() {
      const parts = [`${count(this.count)} of ${count(this.n)} shown`];
      if (this.selection.length) parts.push(`${count(this.selection.length)} selected`);
      this.status.textContent = parts.join(", ");
    }

    _list() {
      const n = this.selection.length;
      this.csv.disabled = this.clear.disabled = n === 0;
      this.listHead.textContent = n ? `Selection: ${count(n)}` : "Selection";
      this.listNote.textContent = n > LISTED ? `The first ${LISTED} are listed; the CSV file holds all ${count(n)}.`
        : n ? "" : "Nothing yet: draw around points with the lasso, or select what is in view.";
      this.list.replaceChildren(...this.selection.slice(0, LISTED).map((i) => {
        const made = element("button", { type: "button", className: "em-item" }, this._picture(i, 40),
          element("span", { dir: "auto", textContent: this._caption(i) }));
        made.addEventListener("click", () => this.show(i));
        return element("li", {}, made);
      }));
    }

    _caption(i) {
      const value = this.column ? this._value(this.column, i) : null;
      return value === null ? this.data.ids[i] : `${this.data.ids[i]}: ${value}`;
    }

    _image(address) {
      const made = new Image();
      made.addEventListener("load", () => this.redraw());
      made.src = address;
      return made;
    }

    // The image that a point's picture is in and the place there; null while or where there is none.
    _source(i, wait) {
      const address = this.hooks.picture ? this.hooks.picture(i) : null;
      if (address) {
        if (!this.pictures.has(address)) {
          if (this.pictures.size > 2000) this.pictures.clear();
          this.pictures.set(address, this._image(address));
        }
        const image = this.pictures.get(address);
        const ready = image.complete && image.naturalWidth > 0;
        return ready || wait ? { image, x: 0, y: 0, width: image.naturalWidth, height: image.naturalHeight } : null;
      }
      if (!this.tiles || this.tiles[i] < 0) return null;
      const { side, columns, rows } = this.data.sprites;
      const image = this.sheets[Math.floor(this.tiles[i] / (columns * rows))];
      const place = this.tiles[i] % (columns * rows);
      if (!wait && !(image.complete && image.naturalWidth)) return null;
      return { image, x: (place % columns) * side, y: Math.floor(place / columns) * side, width: side, height: side };
    }

    _picture(i, side) {
      const drawn = element("canvas", { className: "em-picture", width: side * 2, height: side * 2, "aria-hidden": "true" });
      drawn.style.width = drawn.style.height = `${side}px`;
      const found = this._source(i, true);
      if (!found) {
        if (side < LARGE) return drawn;
        return element("p", { className: "em-note", textContent: this.tiles ? "This picture is not in this page." : "This page has no pictures." });
      }
      const paint = () => {
        const source = this._source(i, false);
        if (!source) return;
        const scale = (2 * side) / Math.max(source.width, source.height);
        const [width, height] = [source.width * scale, source.height * scale];
        drawn.getContext("2d").drawImage(source.image, source.x, source.y, source.width, source.height,
          side - width / 2, side - height / 2, width, height);
      };
      found.image.complete ? paint() : found.image.addEventListener("load", paint);
      return drawn;
    }

    _facts(i, all) {
      const rows = [element("p", { className: "em-name", dir: "auto", textContent: this.data.ids[i] })];
      if (i >= this.old) rows.push(element("p", { className: "em-note", dir: "auto", textContent: this.data.added[i - this.old] }));
      const facts = element("dl");
      for (const one of this.columns) {
        const value = this._value(one, i);
        if (value === null || (!all && one.group === "file" && one !== this.column)) continue;
        facts.append(element("dt", { dir: "auto", textContent: one.name }), element("dd", { dir: "auto", textContent: value === "" ? "(empty)" : value }));
      }
      if (facts.children.length) rows.push(facts);
      return rows;
    }

    _open(i) {
      this.opened = i;
      if (i < 0) {
        this.card.hidden = true;
      } else {
        const close = element("button", { type: "button", className: "em-close", textContent: "Close" });
        close.addEventListener("click", () => this._open(-1));
        this.card.replaceChildren(close, this._picture(i, LARGE), ...this._facts(i, true));
        this.card.hidden = false;
      }
      this.redraw();
    }

    _hover(i, x, y) {
      if (i === this.hovered && i < 0) return;
      if (i !== this.hovered) {
        this.hovered = i;
        if (this.hooks.hover) this.hooks.hover(i);
        if (i >= 0) this.tip.replaceChildren(this._picture(i, LARGE), ...this._facts(i, false));
        this.tip.hidden = i < 0;
        this.redraw();
      }
      if (i < 0) return;
      const [width, height] = [this.tip.offsetWidth, this.tip.offsetHeight];
      const left = x + 16 + width > this.width ? x - 16 - width : x + 16;
      this.tip.style.left = `${Math.max(4, Math.min(left, this.width - width - 4))}px`;
      this.tip.style.top = `${Math.max(4, Math.min(y + 12, this.height - height - 4))}px`;
    }

    _save() {
      const rows = [["id", ...this.columns.map((one) => one.name)]];
      for (const i of this.selection) {
        rows.push([this.data.ids[i], ...this.columns.map((one) => {
          if (one.kind === "number") return Number.isNaN(one.values[i]) ? "" : Number(one.values[i].toPrecision(7));
          return one.codes[i] < 0 ? "" : one.values[one.codes[i]];
        })]);
      }
      const text = rows.map((row) => row.map((one) => (typeof one === "number" ? one : cell(one))).join(",")).join("\r\n") + "\r\n";
      const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
      element("a", { href: address, download: "selection.csv" }).click();
      setTimeout(() => URL.revokeObjectURL(address), 10000);
    }

    // ---- moving and selecting ----------------------------------------------------------------

    _listen() {
      const canvas = this.canvas;
      canvas.addEventListener("pointerdown", (event) => this._down(event));
      canvas.addEventListener("pointermove", (event) => this._moved(event));
      for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this._up(event));
      canvas.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") this._hover(-1); });
      canvas.addEventListener("wheel", (event) => {
        event.preventDefault();
        const lines = event.deltaMode === 1 ? 16 : 1;
        this._zoomBy(Math.exp(-event.deltaY * lines * 0.0016), event.offsetX, event.offsetY);
      }, { passive: false });
      canvas.addEventListener("keydown", (event) => this._key(event));
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
    }

    _take(tool) {
      this.tool = tool;
      this.moveTool.setAttribute("aria-pressed", String(tool === "move"));
      this.lassoTool.setAttribute("aria-pressed", String(tool === "lasso"));
      this.canvas.classList.toggle("em-lasso", tool === "lasso");
    }

    _key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const step = 60;
      const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
      const acts = {
        "+": () => this._zoomBy(1.3), "=": () => this._zoomBy(1.3), "-": () => this._zoomBy(1 / 1.3), 0: () => this.fit(),
        l: () => this._take("lasso"), m: () => this._take("move"), s: () => this._selectView(),
        Escape: () => { this._hover(-1); this._open(-1); this.select([]); },
      };
      if (moves[event.key]) this._pan(...moves[event.key]);
      else if (acts[event.key]) acts[event.key]();
      else return;
      event.preventDefault();
    }

    _down(event) {
      this.canvas.setPointerCapture(event.pointerId);
      const at = [event.offsetX, event.offsetY];
      this.pointers.set(event.pointerId, at);
      if (this.pointers.size > 1) {
        this.trace = null;
        return;
      }
      this.start = at;
      this.far = false;
      if (event.shiftKey) this.trace = { kind: "rectangle", points: [at, at] };
      else if (this.tool === "lasso") this.trace = { kind: "lasso", points: [at] };
    }

    _moved(event) {
      const at = [event.offsetX, event.offsetY];
      const before = this.pointers.get(event.pointerId);
      if (!before) return this._hover(this._nearest(...at), ...at);
      const others = [...this.pointers].filter(([id]) => id !== event.pointerId);
      this.pointers.set(event.pointerId, at);
      if (others.length) {
        const other = others[0][1];
        const distance = (one) => Math.max(1, Math.hypot(one[0] - other[0], one[1] - other[1]));
        this._pan((at[0] - before[0]) / 2, (at[1] - before[1]) / 2);
        this._zoomBy(distance(at) / distance(before), (at[0] + other[0]) / 2, (at[1] + other[1]) / 2);
        this.far = true;
        return;
      }
      if (!this.far && Math.hypot(at[0] - this.start[0], at[1] - this.start[1]) < 4) return;
      if (!this.far) this._hover(-1);
      this.far = true;
      if (!this.trace) return this._pan(at[0] - before[0], at[1] - before[1]);
      if (this.trace.kind === "rectangle") this.trace.points[1] = at;
      else this.trace.points.push(at);
      this.redraw();
    }

    _up(event) {
      if (!this.pointers.delete(event.pointerId) || this.pointers.size) return;
      const trace = this.trace;
      this.trace = null;
      if (event.type === "pointercancel") return this.redraw();
      if (!this.far) return this._tap(event);
      if (trace) this.select(this._inside(trace));
      this.redraw();
    }

    _tap(event) {
      const i = this._nearest(event.offsetX, event.offsetY);
      if (event.pointerType !== "mouse") this._hover(i, event.offsetX, event.offsetY);
      this._open(i);
      if (i >= 0 && this.hooks.click) this.hooks.click(i);
    }

    _inside(trace) {
      let points = trace.points;
      if (trace.kind === "rectangle") {
        const [[a, b], [c, d]] = points;
        points = [[a, b], [c, b], [c, d], [a, d]];
      }
      const found = [];
      for (let i = 0; i < this.n; i++) {
        if (!this.shown[i]) continue;
        const [x, y] = [this.x[i] * this.scale + this.left, this.y[i] * this.scale + this.top];
        let inside = false;
        for (let a = 0, b = points.length - 1; a < points.length; b = a++) {
          const [ax, ay] = points[a];
          const [bx, by] = points[b];
          if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
        }
        if (inside) found.push(i);
      }
      return found;
    }

    _selectView() {
      const corner = [this.width, this.height];
      this.select(this._inside({ kind: "rectangle", points: [[0, 0], corner] }));
    }

    _nearest(x, y) {
      const reach = NEAR / this.scale;
      const [px, py] = [(x - this.left) / this.scale, (y - this.top) / this.scale];
      const { left, top, width, height } = this.box;
      let [best, least] = [-1, reach * reach];
      for (let row = this._cell(py - reach, top, height); row <= this._cell(py + reach, top, height); row++) {
        for (let column = this._cell(px - reach, left, width); column <= this._cell(px + reach, left, width); column++) {
          for (let i = this.first[row * this.grid + column]; i >= 0; i = this.next[i]) {
            if (!this.shown[i]) continue;
            const distance = (this.x[i] - px) ** 2 + (this.y[i] - py) ** 2;
            if (distance < least) [best, least] = [i, distance];
          }
        }
      }
      // A picture is larger than a dot: the pointer may be on it and far from its point.
      for (const i of this.drawn) {
        const [dx, dy] = [Math.abs(this.x[i] - px) * this.scale, Math.abs(this.y[i] - py) * this.scale];
        if (best < 0 && this.shown[i] && dx <= TILE / 2 && dy <= TILE / 2) best = i;
      }
      return best;
    }

    _pan(dx, dy) {
      this.left += dx;
      this.top += dy;
      this.redraw();
    }

    _zoomBy(factor, x = this.width / 2, y = this.height / 2) {
      const scale = Math.min(Math.max(this.scale * factor, this.whole / 4), this.whole * 2000);
      const by = scale / this.scale;
      this.left = x - (x - this.left) * by;
      this.top = y - (y - this.top) * by;
      this.scale = scale;
      this.redraw();
    }

    _resize() {
      const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
      if (!width || !height) return;
      const centre = this.scale && [(this.width / 2 - this.left) / this.scale, (this.height / 2 - this.top) / this.scale];
      const zoom = this.scale && this.scale / this.whole;
      [this.width, this.height] = [width, height];
      this.whole = 0.92 * Math.min(width / this.box.width, height / this.box.height);
      if (!centre) return this.fit();
      this.scale = this.whole * zoom;
      this.left = width / 2 - centre[0] * this.scale;
      this.top = height / 2 - centre[1] * this.scale;
      this._draw();
    }

    // ---- drawing -----------------------------------------------------------------------------

    _draw() {
      if (!this.scale) return;
      const ratio = Math.min(window.devicePixelRatio || 1, 2);
      const [width, height] = [Math.round(this.width * ratio), Math.round(this.height * ratio)];
      const canvas = this.canvas;
      const context = this.context;
      if (canvas.width !== width || canvas.height !== height || !this.pixels) {
        [canvas.width, canvas.height] = [width, height];
        this.frame = context.createImageData(width, height);
        this.pixels = new Uint32Array(this.frame.data.buffer);
      }
      const style = getComputedStyle(this.root);
      const ground = channels(style.getPropertyValue("--em-ground").trim());
      const line = style.getPropertyValue("--em-ink").trim();
      this.pixels.fill(packed(ground));
      const inView = this._dots(ratio, width, height, ground);
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.putImageData(this.frame, 0, 0);
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      if (this.joined) this._lines(line);
      this.drawn = this.pictured && inView.length <= MOST_TILES ? this._tilesOf(inView) : [];
      this._new(line);
      for (const i of this.marked) if (this.shown[i]) this._ring(i, line, 8);
      if (this.opened >= 0) this._ring(this.opened, line, 11);
      if (this.hovered >= 0) this._ring(this.hovered, line, 8);
      if (this.trace) this._traced(line);
    }

    // Dots are written straight into the pixels: 100,000 calls of the canvas would take seconds.
    _dots(ratio, width, height, ground) {
      const zoom = Math.max(1, this.scale / this.whole);
      const small = this.n > 30000 ? 1.3 : this.n > 4000 ? 1.9 : 2.8;
      const radius = ratio * Math.min(5.5, small * zoom ** 0.3);
      const reach = Math.ceil(radius);
      const size = 2 * reach + 1;
      const cover = new Uint8Array(size * size);
      for (let y = -reach; y <= reach; y++)
        for (let x = -reach; x <= reach; x++)
          cover[(y + reach) * size + x + reach] = Math.round(230 * Math.min(1, Math.max(0, radius + 0.5 - Math.hypot(x, y))));
      const { pixels, ink, shown, order } = this;
      const some = this.selection.length > 0;
      const [scale, left, top] = [this.scale * ratio, this.left * ratio, this.top * ratio];
      const inView = [];
      // What is selected comes last, so that nothing covers it.
      for (let pass = some ? 0 : 1; pass < 2; pass++) {
        for (let place = 0; place < this.n; place++) {
          const i = order[place];
          if (!shown[i] || (some && this.chosen[i] !== pass)) continue;
          const px = Math.round(this.x[i] * scale + left);
          const py = Math.round(this.y[i] * scale + top);
          if (px < -reach || py < -reach || px >= width + reach || py >= height + reach) continue;
          if (inView.length <= MOST_TILES) inView.push(i);
          if (i >= this.old) continue;
          const faint = some && !pass ? 0.18 : 1;
          const colour = ink[i];
          const [red, green, blue] = [colour & 255, (colour >> 8) & 255, (colour >> 16) & 255];
          const [y0, y1] = [Math.max(0, py - reach), Math.min(height - 1, py + reach)];
          const [x0, x1] = [Math.max(0, px - reach), Math.min(width - 1, px + reach)];
          for (let y = y0; y <= y1; y++) {
            let at = y * width + x0;
            let from = (y - py + reach) * size + x0 - px + reach;
            for (let x = x0; x <= x1; x++, at++, from++) {
              const alpha = cover[from] * faint;
              if (!alpha) continue;
              const under = pixels[at];
              const a = alpha / 255;
              const r = (under & 255) + (red - (under & 255)) * a;
              const g = ((under >> 8) & 255) + (green - ((under >> 8) & 255)) * a;
              const b = ((under >> 16) & 255) + (blue - ((under >> 16) & 255)) * a;
              pixels[at] = (0xff000000 | (b << 16) | (g << 8) | r) >>> 0;
            }
          }
        }
      }
      return inView;
    }

    _at(i) {
      return [this.x[i] * this.scale + this.left, this.y[i] * this.scale + this.top];
    }

    _lines(colour) {
      const context = this.context;
      context.beginPath();
      for (let place = 0; place < this.pairs.length; place += 2) {
        const [a, b] = [this.pairs[place], this.pairs[place + 1]];
        if (!this.shown[a] || !this.shown[b]) continue;
        context.moveTo(...this._at(a));
        context.lineTo(...this._at(b));
      }
      context.strokeStyle = colour;
      context.globalAlpha = 0.55;
      context.lineWidth = 1;
      context.stroke();
      context.globalAlpha = 1;
    }

    // Pictures take their places in the order of the dots; one that would cover another stays a dot.
    _tilesOf(points) {
      const context = this.context;
      const taken = new Map();
      const drawn = [];
      const some = this.selection.length > 0;
      for (const i of points) {
        const [x, y] = this._at(i);
        const [column, row] = [Math.floor(x / TILE), Math.floor(y / TILE)];
        let free = true;
        for (let a = -1; a < 2 && free; a++)
          for (let b = -1; b < 2 && free; b++) {
            const other = taken.get(`${column + a},${row + b}`);
            if (other && Math.abs(other[0] - x) < TILE + 2 && Math.abs(other[1] - y) < TILE + 2) free = false;
          }
        const source = free ? this._source(i, false) : null;
        if (!source) continue;
        taken.set(`${column},${row}`, [x, y]);
        drawn.push(i);
        const scale = TILE / Math.max(source.width, source.height);
        const [width, height] = [source.width * scale, source.height * scale];
        context.globalAlpha = some && !this.chosen[i] ? 0.35 : 1;
        context.drawImage(source.image, source.x, source.y, source.width, source.height, x - width / 2, y - height / 2, width, height);
        context.strokeStyle = hex(this.rgb[i]);
        context.lineWidth = 3;
        context.strokeRect(x - width / 2, y - height / 2, width, height);
      }
      context.globalAlpha = 1;
      return drawn;
    }

    _new(colour) {
      const context = this.context;
      for (let i = this.old; i < this.n; i++) {
        if (!this.shown[i]) continue;
        const [x, y] = this._at(i);
        context.beginPath();
        for (const [dx, dy] of [[0, -9], [9, 0], [0, 9], [-9, 0]]) context.lineTo(x + dx, y + dy);
        context.closePath();
        if (!this.drawn.includes(i)) {
          context.fillStyle = hex(this.rgb[i]);
          context.fill();
        }
        context.strokeStyle = colour;
        context.lineWidth = 2;
        context.stroke();
      }
    }

    _ring(i, colour, radius) {
      const context = this.context;
      context.beginPath();
      context.arc(...this._at(i), radius, 0, 2 * Math.PI);
      context.strokeStyle = colour;
      context.lineWidth = 2;
      context.stroke();
    }

    _traced(colour) {
      const context = this.context;
      const { kind, points } = this.trace;
      context.beginPath();
      if (kind === "rectangle") {
        const [[a, b], [c, d]] = points;
        context.rect(a, b, c - a, d - b);
      } else {
        for (const point of points) context.lineTo(...point);
        context.closePath();
      }
      context.strokeStyle = context.fillStyle = colour;
      context.lineWidth = 1.5;
      context.stroke();
      context.globalAlpha = 0.08;
      context.fill();
      context.globalAlpha = 1;
    }

    // ---- for the page around it --------------------------------------------------------------

    redraw() {
      if (this.waiting) return;
      this.waiting = true;
      requestAnimationFrame(() => {
        this.waiting = false;
        this._draw();
      });
    }

    fit() {
      const { left, top, width, height } = this.box;
      this.scale = this.whole;
      this.left = this.width / 2 - (left + width / 2) * this.scale;
      this.top = this.height / 2 - (top + height / 2) * this.scale;
      this.redraw();
    }

    select(points) {
      this.selection = [...points];
      this.chosen.fill(0);
      for (const i of points) this.chosen[i] = 1;
      this._list();
      this._say();
      this.redraw();
      if (this.hooks.select) this.hooks.select(this.selection);
    }

    show(i) {
      if (this.scale < this.whole * 4) this.scale = this.whole * 4;
      this.left = this.width / 2 - this.x[i] * this.scale;
      this.top = this.height / 2 - this.y[i] * this.scale;
      this._open(i);
      if (this.hooks.click) this.hooks.click(i);
    }

    only(points) {
      this.allowed = null;
      if (points) {
        this.allowed = new Uint8Array(this.n);
        for (const i of points) this.allowed[i] = 1;
      }
      this._filter();
    }

    mark(points) {
      this.marked = [...points];
      this.redraw();
    }

    colourBy(name) {
      this.column = this.columns.find((one) => one.name === name) || this.column;
      if (!this.column) return;
      this.by.value = this.column.name;
      this.hidden = new Set();
      this._colours();
      this._legend();
      this._filter();
      this._list();
    }

    setColumn(column) {
      const made = decoded(column);
      const place = this.columns.findIndex((one) => one.name === made.name);
      if (place < 0) this.columns.push(made);
      else this.columns[place] = made;
      this.texts = null;
      this._menu();
      if (!this.column || this.column.name === made.name) this.colourBy(made.name);
    }

    setPairs(pairs) {
      this.pairs = Int32Array.from(pairs.flat());
      this._joinWords();
      this.redraw();
    }
  };
})();
