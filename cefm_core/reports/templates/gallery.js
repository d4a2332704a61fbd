"use strict";
(function () {
  var PAGE = 60, ID = 0, HREF = 1, THUMB = 2, LABEL = 3, SPLIT = 4, P = 5, ABSTAIN = 6, LEVELS = 7, TDS = 8, DECISION = 9, FLAGS = 10;
  var rows = JSON.parse(document.getElementById("rows").textContent), shown = rows, first = 0;
  var text = rows.map(function (r) { return [r[ID], r[LABEL], r[SPLIT], r[DECISION]].concat(r[FLAGS]).join(" ").toLowerCase(); });
  function by(id) { return document.getElementById(id); }
  function make(tag, name, content) { var n = document.createElement(tag); if (name) { n.className = name; } if (content !== undefined) { n.textContent = content; } return n; }
  function fill(select, column) {
    Array.from(new Set(rows.map(function (r) { return r[column]; }).filter(Boolean))).sort().forEach(function (value) {
      var option = make("option", "", value); option.value = value; select.appendChild(option);
    });
  }
  function key(r, kind) {
    if (kind === "p") { return r[P]; }
    if (kind === "tds") { return r[TDS]; }
    return r[LEVELS].every(function (l) { return l !== null; }) ? r[LEVELS][0] + r[LEVELS][1] + r[LEVELS][2] : null;
  }
  function compare(a, b) { return a[ID] < b[ID] ? -1 : a[ID] > b[ID] ? 1 : 0; }
  function order(list, sort) {
    if (sort === "id") { return list.sort(compare); }
    var down = sort.slice(-1) === "-", kind = down ? sort.slice(0, -1) : sort;
    return list.sort(function (a, b) {
      var x = key(a, kind), y = key(b, kind);
      if (x === null || y === null) { return x === y ? compare(a, b) : x === null ? 1 : -1; }
      return x === y ? compare(a, b) : (down ? y - x : x - y);
    });
  }
  function tile(r) {
    var node = make(r[HREF] ? "a" : "div", "item"), pic = make("span", "pic"), body = make("span", "body");
    if (r[HREF]) { node.href = r[HREF]; }
    if (r[THUMB]) { var img = make("img"); img.loading = "lazy"; img.alt = ""; img.src = r[THUMB]; pic.appendChild(img); }
    body.appendChild(make("span", "id", r[ID]));
    var meta = make("span", "meta");
    meta.appendChild(make("span", "", r[LABEL])); meta.appendChild(make("span", "num", r[P] === null ? "—" : (100 * r[P]).toFixed(0) + " %"));
    body.appendChild(meta);
    var bar = make("span", "pbar" + (r[ABSTAIN] ? " abstain" : "")), inner = make("i");
    inner.style.width = (r[P] === null ? 0 : 100 * r[P]) + "%"; bar.appendChild(inner); body.appendChild(bar);
    var abc = make("span", "abc");
    r[LEVELS].forEach(function (level, i) { abc.appendChild(make("b", level === null ? "" : "v" + level, "ABC"[i] + " " + (level === null ? "–" : level))); });
    body.appendChild(abc); node.appendChild(pic); node.appendChild(body);
    node.title = [r[ID], r[SPLIT], r[DECISION]].concat(r[FLAGS]).filter(Boolean).join(" · ");
    return node;
  }
  function draw() {
    var box = by("gallery"); box.replaceChildren.apply(box, shown.slice(first, first + PAGE).map(tile));
    by("count").textContent = shown.length.toLocaleString("en") + (shown.length === 1 ? " image" : " images");
    by("where").textContent = shown.length ? (first + 1) + " – " + Math.min(first + PAGE, shown.length) + " of " + shown.length : "none";
    by("back").disabled = first === 0; by("more").disabled = first + PAGE >= shown.length;
  }
  function select() {
    var words = by("find").value.toLowerCase().split(/\s+/).filter(Boolean), label = by("diagnosis").value, split = by("split").value, only = by("abstain").checked;
    shown = order(rows.filter(function (r, i) {
      return (!label || r[LABEL] === label) && (!split || r[SPLIT] === split) && (!only || r[ABSTAIN]) && words.every(function (w) { return text[i].indexOf(w) >= 0; });
    }), by("sort").value);
    first = 0; draw();
  }
  fill(by("diagnosis"), LABEL); fill(by("split"), SPLIT);
  by("find").addEventListener("input", select);
  ["sort", "diagnosis", "split", "abstain"].forEach(function (id) { by(id).addEventListener("change", select); });
  by("back").addEventListener("click", function () { first = Math.max(0, first - PAGE); draw(); });
  by("more").addEventListener("click", function () { first += PAGE; draw(); by("images").scrollIntoView(); });
  // A page links to another image's page as #image=<id> of the run page: pages are named by their content and cannot name each other.
  if (location.hash.indexOf("#image=") === 0) {
    var wanted = decodeURIComponent(location.hash.slice(7)), hit = rows.filter(function (r) { return r[ID] === wanted; })[0];
    if (hit && hit[HREF]) { location.replace(hit[HREF]); return; }
    by("find").value = wanted;
  }
  select();
})();
