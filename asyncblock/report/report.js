"use strict";
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const name = () => { button.textContent = dark() ? "Light" : "Dark"; };
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });
  name();

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    const key = (row, column) => row.cells[column].dataset.v ?? row.cells[column].textContent;
    heads.forEach((head, column) => {
      if (!head.textContent) return;
      head.tabIndex = 0;
      const sort = () => {
        const up = head.getAttribute("aria-sort") === "descending" || (!head.ariaSort && !head.classList.contains("n"));
        const rows = [...table.tBodies[0].rows].sort((a, b) => {
          const x = key(a, column), y = key(b, column);
          const order = head.classList.contains("n") ? x - y : x.localeCompare(y);
          return up ? order : -order;
        });
        for (const each of heads) each.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        table.tBodies[0].append(...rows);
      };
      head.addEventListener("click", sort);
      head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
    });
  }

  const find = document.getElementById("find");
  if (find) {
    let waiting = 0;
    find.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => {
        const words = find.value.toLowerCase();
        let count = 0;
        for (const log of document.querySelectorAll("ol.log")) {
          let here = 0;
          for (const line of log.children) {
            const fits = !words || line.textContent.toLowerCase().includes(words);
            line.hidden = !fits;
            here += fits;
          }
          if (words) log.parentElement.open = here > 0;
          count += here;
        }
        document.getElementById("found").textContent = words ? `${count.toLocaleString()} lines` : "";
      }, 120);
    });
  }

  for (const button of document.querySelectorAll("button.run")) {
    button.addEventListener("click", () => {
      const frame = button.parentElement.parentElement.querySelector("iframe");
      frame.setAttribute("sandbox", "allow-scripts");
      frame.srcdoc += " ";
      button.parentElement.remove();
    });
  }

  const draw = {
    plotly: "const s=JSON.parse(document.getElementById('s').textContent);" +
      "Plotly.newPlot(document.body.firstElementChild,s.data,s.layout||{},{responsive:true,displaylogo:false,...(s.config||{})});",
    vega: "vegaEmbed(document.body.firstElementChild,JSON.parse(document.getElementById('s').textContent),{actions:false});",
  };
  const libraries = {};
  const frame = (place) => {
    const which = place.dataset.draws;
    const source = libraries[which] ??= JSON.parse(document.getElementById("library-" + which).textContent);
    const policy = document.querySelector("meta[http-equiv=Content-Security-Policy]").content;
    const made = document.createElement("iframe");
    made.setAttribute("sandbox", "allow-scripts");
    made.title = place.dataset.title;
    made.srcdoc = `<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${policy}">` +
      `<style>html,body,body>div{margin:0;height:100%;background:#fff;font:14px system-ui,sans-serif}</style><div></div>` +
      `<script type="application/json" id="s">${place.dataset.spec.replaceAll("<", "\\u003c")}</` + `script>` +
      `<script>${source}</` + `script><script>${draw[which]}</` + `script>`;
    place.replaceChildren(made);
  };
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      frame(entry.target);
    }
  }, { rootMargin: "400px" });
  for (const place of document.querySelectorAll(".chart")) seen.observe(place);
  addEventListener("beforeprint", () => { for (const each of document.querySelectorAll("details")) each.open = true; });
})();
