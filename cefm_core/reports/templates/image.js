"use strict";
(function () {
  document.querySelectorAll("[data-toggle]").forEach(function (box) {
    box.addEventListener("change", function () {
      var layer = document.querySelector('[data-layer="' + box.dataset.toggle + '"]');
      if (layer) { layer.style.display = box.checked ? "" : "none"; }
    });
  });
  var marked = document.querySelectorAll("[data-fact]");
  function light(ids) {
    marked.forEach(function (node) {
      var own = node.dataset.fact.split(" ");
      node.classList.toggle("lit", ids.some(function (id) { return own.indexOf(id) >= 0; }));
    });
  }
  document.querySelectorAll("[data-facts]").forEach(function (claim) {
    var ids = claim.dataset.facts.split(" ");
    ["mouseenter", "focus"].forEach(function (kind) { claim.addEventListener(kind, function () { light(ids); }); });
    ["mouseleave", "blur"].forEach(function (kind) { claim.addEventListener(kind, function () { light([]); }); });
  });
})();
