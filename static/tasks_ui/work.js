// The work desk: drafts that keep themselves, the list beside the task, keys. Everything works without it.
(() => {
  "use strict";
  const $ = (selector, from = document) => from.querySelector(selector);

  // --- Drafts: what is typed is on the server a moment later --------------------------------------------------
  const PAUSE = 1500;
  let timer = 0, kept = "";
  const whole = (form) => { const data = new FormData(form); const picked = $("input[name=outcome]:checked"); if (picked) data.set("outcome", picked.value); return data; };
  const text = (data) => new URLSearchParams([...data].filter(([name]) => name !== "csrfmiddlewaretoken")).toString();
  const keep = async () => {
    clearTimeout(timer);
    const form = $("#decide[data-draft]"), mark = $("#draft");
    if (!form) return;
    const data = whole(form), now = text(data);
    if (now === kept) return;
    kept = now;
    const answer = await fetch(form.dataset.draft, { method: "POST", body: data, credentials: "same-origin", keepalive: true }).catch(() => null);
    if (!mark || !mark.isConnected) return;
    if (!answer || !answer.ok) { kept = ""; mark.textContent = "The draft is not saved: no connection."; return; }
    const { shown } = await answer.json();
    mark.textContent = `Draft saved ${shown}`;
  };
  const start = () => { const form = $("#decide[data-draft]"); kept = form ? text(whole(form)) : ""; };
  const changed = (event) => {
    if (event.target.form?.id !== "decide") return;
    clearTimeout(timer);
    timer = setTimeout(keep, PAUSE);
  };
  document.addEventListener("input", changed);
  document.addEventListener("change", changed);
  document.addEventListener("focusout", (event) => { if (event.target.form?.id === "decide") keep(); });
  document.addEventListener("submit", () => clearTimeout(timer));

  // --- After a refusal the first fault has the focus -----------------------------------------------------------
  const first = () => { const wrong = $("[data-first], [aria-invalid=true]", $("#main")); if (wrong) wrong.focus(); };

  // --- The list beside the task ---------------------------------------------------------------------------------
  const wide = matchMedia("(width >= 68rem)");
  let last = null;
  const choose = async (link) => {
    const pane = $("#pane");
    // What is still shown is another task: a click that comes too early must not decide that one.
    pane.inert = true;
    const mine = last = Symbol("choice");
    await keep();
    const answer = await fetch(link.href, { headers: { "X-Fragment": "panel" }, credentials: "same-origin" }).catch(() => null);
    if (mine !== last) return;
    if (!answer || !answer.ok || answer.redirected) { location.href = link.href; return; }
    const shown = await answer.text();
    if (mine !== last) return;
    pane.innerHTML = shown;
    pane.inert = false;
    for (const row of document.querySelectorAll("#items > li")) row.toggleAttribute("aria-current", false);
    link.closest("li").setAttribute("aria-current", "true");
    history.replaceState(null, "", link.dataset.pane);
    start();
    document.dispatchEvent(new CustomEvent("htmx:afterSettle"));  // live.js looks for new regions
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("#items a[data-pane]");
    if (!link || !wide.matches || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
    event.preventDefault();
    choose(link);
  });

  // --- Keys: c claims, 1 to 9 pick an outcome, Ctrl-Enter sends -------------------------------------------------
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input:not([type=radio]):not([type=checkbox]), textarea, select, dialog");
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      const picked = $("input[name=outcome]:checked");
      const button = picked?.closest("div")?.querySelector("button");
      if (button) { event.preventDefault(); button.click(); }
      return;
    }
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "c") $("[data-key=c]")?.click();
    else if (/^[1-9]$/.test(event.key)) {
      const radio = document.querySelectorAll(".outcomes input[name=outcome]")[Number(event.key) - 1];
      if (radio) { radio.checked = true; radio.focus(); radio.dispatchEvent(new Event("change", { bubbles: true })); }
    }
  });
  start();
  first();
})();
