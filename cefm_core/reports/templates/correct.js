"use strict";
(function () {
  var data = JSON.parse(document.getElementById("ledger").textContent), words = data.words, facts = {}, memory = {};
  data.facts.forEach(function (fact) { facts[fact.id] = fact; });
  // One list for all pages of a site, kept on this machine until it is downloaded; where the browser forbids that, for this page only.
  var KEY = "cefm-corrections:" + location.pathname.replace(/objects\/page\/.*$/, "");
  function load() { try { return JSON.parse(localStorage.getItem(KEY)) || {}; } catch (error) { return memory; } }
  function save(list) { memory = list; try { localStorage.setItem(KEY, JSON.stringify(list)); } catch (error) { /* kept in memory */ } show(); }
  function make(tag, name, text) { var node = document.createElement(tag); if (name) { node.className = name; } if (text) { node.textContent = text; } return node; }
  function slot(id) { return data.image_id + "\n" + id; }
  function show() {
    var list = load(), keys = Object.keys(list), images = {};
    keys.forEach(function (key) { images[list[key].image_id] = true; });
    document.getElementById("waiting").hidden = keys.length === 0;
    document.getElementById("waiting-count").textContent = words.count + ": " + keys.length + " (" + words.images + ": " + Object.keys(images).length + ")";
    document.querySelectorAll("[data-facts]").forEach(function (claim) {
      claim.classList.toggle("doubted", claim.dataset.facts.split(" ").some(function (id) { return list[slot(id)]; }));
    });
  }
  function choose(fact, value) {
    var list = load(), kind = value.split(" ")[0];
    if (value === "keep") { delete list[slot(fact.id)]; } else {
      list[slot(fact.id)] = { image_id: data.image_id, fact: fact.id, kind: kind, seen: fact.seen };
      if (kind === "level") { list[slot(fact.id)].level = Number(value.split(" ")[1]); }
    }
    save(list);
  }
  function row(fact) {
    var line = make("label", "fixrow"), select = make("select"), held = load()[slot(fact.id)];
    function option(value, text) { var node = make("option", "", text); node.value = value; select.appendChild(node); }
    option("keep", words.keep); option("wrong", words.wrong);
    fact.words.forEach(function (word, i) { option("level " + (i + 1), words.level + " " + (i + 1) + ": " + word); });
    if (fact.corrected) { option("withdrawn", words.withdraw); }
    select.value = held ? held.kind + (held.level ? " " + held.level : "") : "keep";
    select.dataset.corrects = fact.id;
    select.addEventListener("change", function () { choose(fact, select.value); });
    line.appendChild(make("span", "", fact.name)); line.appendChild(make("span", "num muted", fact.value)); line.appendChild(select);
    return line;
  }
  function panel(claim) {
    var box = make("div", "fixer"), ids = claim.dataset.facts.split(" ").filter(function (id) { return facts[id]; });
    box.appendChild(make("p", "small muted", words.hint));
    ids.forEach(function (id) { box.appendChild(row(facts[id])); });
    var all = make("button", "", words.all), done = make("button", "", words.done), end = make("p", "fixend");
    all.type = done.type = "button";
    all.addEventListener("click", function () {
      box.querySelectorAll("select").forEach(function (select) { select.value = "wrong"; choose(facts[select.dataset.corrects], "wrong"); });
    });
    done.addEventListener("click", function () { box.remove(); claim.focus(); });
    end.appendChild(all); end.appendChild(done); box.appendChild(end);
    return box;
  }
  document.querySelectorAll("button.fix").forEach(function (button) {
    var claim = button.closest("[data-facts]");
    button.hidden = !claim.dataset.facts.split(" ").some(function (id) { return facts[id]; });
    button.addEventListener("click", function () {
      var open = claim.parentNode.querySelector(".fixer"), here = open && open.previousElementSibling === claim;
      document.querySelectorAll(".fixer").forEach(function (box) { box.remove(); });
      if (!here) { claim.after(panel(claim)); }
    });
  });
  document.getElementById("discard").addEventListener("click", function () {
    save({}); document.querySelectorAll(".fixer select").forEach(function (select) { select.value = "keep"; });
  });
  document.getElementById("download").addEventListener("click", function () {
    var list = load(), file = { format: data.format, version: 1, corrections: Object.keys(list).sort().map(function (key) { return list[key]; }) };
    var link = make("a"), url = URL.createObjectURL(new Blob([JSON.stringify(file, null, 1) + "\n"], { type: "application/json" }));
    link.href = url; link.download = "corrections-" + new Date().toISOString().slice(0, 10) + ".json";
    link.click(); setTimeout(function () { URL.revokeObjectURL(url); }, 1000);
  });
  show();
})();
