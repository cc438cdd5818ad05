// The editor of templates: line numbers that follow, links that put the cursor on a line, a file read into the text.
(() => {
  "use strict";
  const text = document.getElementById("text");
  const lines = document.getElementById("lines");
  const file = document.getElementById("file");
  if (!text || !lines) return;
  const paper = text.closest(".paper");

  // --- Numbers and marks ---------------------------------------------------------------------------------------
  const countOf = (value) => value.split("\n").length;
  const caretLine = () => countOf(text.value.slice(0, text.selectionEnd));
  let count = countOf(text.value);
  let marks = new Map([...lines.querySelectorAll("b")].map((mark) => [Number(mark.textContent), mark.dataset.state]));
  const draw = () => {
    const parts = document.createDocumentFragment();
    let plain = "";
    for (let line = 1; line <= count; line += 1) {
      const state = marks.get(line);
      if (!state) { plain += `${line}\n`; continue; }
      const mark = document.createElement("b");
      mark.id = `line-${line}`;
      mark.dataset.state = state;
      mark.textContent = String(line);
      parts.append(plain, mark, "\n");
      plain = "";
    }
    parts.append(plain);
    lines.replaceChildren(parts);
    text.rows = count;
    document.getElementById("line-count").textContent = count.toLocaleString("en");
  };
  // What stands below an edit moves with it.
  const follow = () => {
    const now = countOf(text.value);
    const by = now - count;
    count = now;
    if (!by) return;
    const from = caretLine() - by;
    const gone = (line) => line > from + by && line <= from;
    const moved = (line) => (line > from ? line + by : gone(line) ? from + by : line);
    marks = new Map([...marks].filter(([line]) => !gone(line)).map(([line, state]) => [moved(line), state]));
    for (const link of document.querySelectorAll("a[data-line]")) {
      link.dataset.line = String(Math.min(now, Math.max(1, moved(Number(link.dataset.line)))));
      link.setAttribute("href", `#line-${link.dataset.line}`);
      if (link instanceof HTMLElement) link.textContent = `Line ${Number(link.dataset.line).toLocaleString("en")}`;
    }
    draw();
  };
  // Pasting says "input" once for every line: the numbers follow once for all of them.
  let waiting = 0;
  text.addEventListener("input", () => {
    waiting ||= requestAnimationFrame(() => { waiting = 0; follow(); });
  });
  if (text.rows !== count) draw();

  // --- Links to lines ------------------------------------------------------------------------------------------
  const goTo = (line, column) => {
    const all = text.value.split("\n");
    const start = all.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
    const length = (all[line - 1] || "").length;
    text.focus({ preventScroll: true });
    if (column > 1) text.setSelectionRange(start + Math.min(column - 1, length), start + Math.min(column, length));
    else text.setSelectionRange(start, start + length);
    text.scrollLeft = 0;
    const height = lines.getBoundingClientRect().height / count;
    paper.scrollTop = Math.max(0, (line - 1) * height - paper.clientHeight / 3);
    paper.scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[data-line]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    goTo(Number(link.dataset.line), Number(link.dataset.column || 1));
  });

  // --- Length ---------------------------------------------------------------------------------------------------
  // What is too long would be refused before the server reads it; it is said here, and nothing typed is lost.
  text.form.addEventListener("submit", (event) => {
    const most = Number(file.dataset.most);
    const size = new Blob([text.value]).size + count;
    text.setCustomValidity(size > most - 1000 ? "This is longer than 1 MiB. Take a file instead, without line breaks if need be." : "");
    if (!text.reportValidity()) event.preventDefault();
  });
  text.addEventListener("input", () => text.setCustomValidity(""));

  // --- Files ---------------------------------------------------------------------------------------------------
  // Read here, a file can be looked at before it is checked; without script the server reads it.
  file?.addEventListener("change", async () => {
    const picked = file.files[0];
    if (!picked || picked.size > Number(file.dataset.most)) return;
    let read;
    try { read = new TextDecoder("utf-8", { fatal: true }).decode(await picked.arrayBuffer()); } catch { return; }
    text.value = read;
    file.value = "";
    count = countOf(text.value);
    marks.clear();
    draw();
    goTo(1, 1);
  });
})();
