// The shell: theme, dialogs, keys, palette, copying.
(() => {
  "use strict";
  const root = document.documentElement;
  const $ = (selector, from = document) => from.querySelector(selector);
  const store = {
    get(key) { try { return localStorage.getItem(key); } catch { return null; } },
    set(key, value) { try { value ? localStorage.setItem(key, value) : localStorage.removeItem(key); } catch { /* not kept */ } },
  };

  // --- Theme ---------------------------------------------------------------------------------------------------
  const showTheme = () => {
    for (const button of document.querySelectorAll("[data-theme-choice]")) {
      button.setAttribute("aria-pressed", String((root.dataset.theme || "") === button.dataset.themeChoice));
    }
  };
  showTheme();

  // --- Dialogs -------------------------------------------------------------------------------------------------
  // A link with data-dialog works without script: it leads to the page with the dialog's content. With script its
  // content is fetched and shown over the page.
  const openDialog = async (link) => {
    const dialog = $("#dialog");
    const answer = await fetch(link.href, { headers: { "HX-Request": "true", "X-Fragment": "dialog" }, credentials: "same-origin" }).catch(() => null);
    if (!answer || !answer.ok || answer.redirected) { location.href = link.href; return; }
    dialog.innerHTML = await answer.text();
    if (window.htmx) window.htmx.process(dialog);
    dialog.showModal();
    const first = $("[autofocus], textarea, input:not([type=hidden]), button", dialog);
    if (first) first.focus();
  };

  document.addEventListener("click", (event) => {
    const at = (selector) => event.target.closest?.(selector);
    let it;
    if ((it = at("[data-theme-choice]"))) {
      const theme = it.dataset.themeChoice;
      store.set("theme", theme);
      if (theme) root.dataset.theme = theme; else delete root.dataset.theme;
      showTheme();
    } else if ((it = at("[data-open]"))) {
      it.closest("[popover]")?.hidePopover();
      $(`#${it.dataset.open}`)?.showModal();
    } else if ((it = at("[data-close]"))) {
      if (it.tagName !== "A" || it.closest("dialog")?.matches(":modal")) {
        event.preventDefault();
        it.closest("dialog")?.close();
      }
    } else if ((it = at("a[data-dialog]")) && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) {
      event.preventDefault();
      it.closest("[popover]")?.hidePopover();
      openDialog(it);
    } else if ((it = at("[data-copy]"))) {
      navigator.clipboard?.writeText(it.dataset.copy).then(() => toast(`${it.dataset.copied || "Copied"}`));
    } else if (event.target.matches?.("dialog:modal")) {
      // A click beside the dialog closes it, unless something was typed.
      const typed = [...event.target.querySelectorAll("textarea, input[type=text]")].some((field) => field.value !== field.defaultValue);
      const box = event.target.getBoundingClientRect();
      const beside = event.clientX < box.left || event.clientX > box.right || event.clientY < box.top || event.clientY > box.bottom;
      if (beside && !typed) event.target.close();
    }
  });

  document.addEventListener("change", (event) => {
    if (event.target.matches?.("select[data-go]")) location.href = event.target.value;
    if (event.target.matches?.("select[data-submit]")) event.target.form.requestSubmit();
    if (event.target.matches?.("[data-travel] [type=range]")) {
      const to = new URL(location.href);
      if (event.target.value === event.target.max) to.searchParams.delete("at");
      else to.searchParams.set("at", event.target.value);
      location.href = to;
    }
  });
  document.addEventListener("input", (event) => {
    if (event.target.matches?.("[data-travel] [type=range]")) {
      const range = event.target;
      range.form.querySelector("output").textContent = range.value === range.max ? `${range.value} · now` : range.value;
    }
  });
  // The newest event is "now": the slider follows while it stands at its end.
  document.addEventListener("live:patched", () => {
    const range = $("[data-travel] [type=range]");
    const last = $("#head")?.dataset.last;
    if (!range || !last || range.max === last || range === document.activeElement) return;
    const now = range.value === range.max;
    range.max = last;
    if (now) { range.value = last; range.form.querySelector("output").textContent = `${last} · now`; }
  });

  // Links that act like buttons answer to the space bar, too.
  document.addEventListener("keydown", (event) => {
    if (event.key === " " && event.target.matches?.("a[role=button]")) { event.preventDefault(); event.target.click(); }
  });

  // A form sent twice by a double click is one wish.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post" || form.hasAttribute("data-again")) return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "yes";
    setTimeout(() => { delete form.dataset.sent; }, 4000);
  });
  window.addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });

  const toast = (text, state = "completed") => {
    const note = document.createElement("div");
    note.className = "toast";
    note.dataset.state = state;
    note.setAttribute("role", "status");
    const words = document.createElement("span");
    words.textContent = text;
    note.append(words);
    $("#toasts")?.append(note);
    setTimeout(() => note.remove(), 4000);
  };
  window.orchestrator = Object.assign(window.orchestrator || {}, { toast });

  // --- Palette -------------------------------------------------------------------------------------------------
  const palette = $("#palette");
  const input = $("#palette-input");
  const options = () => [...palette.querySelectorAll("[role=option]")];
  const choose = (option) => {
    for (const other of options()) other.setAttribute("aria-selected", String(other === option));
    if (option) { input.setAttribute("aria-activedescendant", option.id); option.scrollIntoView({ block: "nearest" }); }
    else input.removeAttribute("aria-activedescendant");
  };
  const openPalette = () => {
    if (!palette || palette.open) return;
    for (const dialog of document.querySelectorAll("dialog:modal")) dialog.close();
    palette.showModal();
    input.value = "";
    input.focus();
    window.htmx?.trigger(input, "open");
  };
  if (palette) {
    palette.addEventListener("htmx:afterSwap", () => choose(options()[0]));
    palette.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) location.href = option.dataset.href;
    });
    input.addEventListener("keydown", (event) => {
      const all = options();
      const at = all.findIndex((option) => option.getAttribute("aria-selected") === "true");
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        choose(all[(at + (event.key === "ArrowDown" ? 1 : -1) + all.length) % all.length]);
      } else if (event.key === "Enter" && all[at]) {
        event.preventDefault();
        location.href = all[at].dataset.href;
      }
    });
  }
  if (/Mac|iPhone|iPad/.test(navigator.platform)) {
    for (const key of document.querySelectorAll("[data-shortcut=palette]")) key.textContent = "⌘ K";
  }

  // --- Keys ----------------------------------------------------------------------------------------------------
  const letters = $("[data-letters]");
  const lettersOn = () => store.get("letters") !== "off";
  if (letters) {
    letters.checked = lettersOn();
    letters.addEventListener("change", () => store.set("letters", letters.checked ? "" : "off"));
  }
  const rows = () => [...document.querySelectorAll("[data-rows] [data-row]")];
  const move = (step) => {
    const all = rows();
    if (!all.length) return;
    const now = all.findIndex((row) => row.contains(document.activeElement));
    const next = all[Math.min(all.length - 1, Math.max(0, now < 0 ? (step > 0 ? 0 : all.length - 1) : now + step))];
    (next.matches("a") ? next : $("a[href]", next))?.focus();
  };
  let pending = "";
  const places = { i: "inbox", o: "overview", w: "instances", t: "templates", s: "start" };
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      openPalette();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !lettersOn()) return;
    if (event.target.closest?.("input, textarea, select, [contenteditable], dialog:modal")) return;
    if (pending === "g") {
      pending = "";
      const place = places[event.key] && $(`#rail a[data-place="${places[event.key]}"]`);
      if (place) { event.preventDefault(); location.href = place.href; }
      return;
    }
    switch (event.key) {
      case "g": pending = "g"; setTimeout(() => { pending = ""; }, 1200); break;
      case "/": if ($("#q")) { event.preventDefault(); $("#q").focus(); $("#q").select(); } break;
      case "?": event.preventDefault(); $("#keys")?.showModal(); break;
      case "j": event.preventDefault(); move(1); break;
      case "k": event.preventDefault(); move(-1); break;
      case "o": { const row = rows().find((one) => one.contains(document.activeElement)); if (row) { event.preventDefault(); (row.matches("a") ? row : $("a[href]", row))?.click(); } break; }
      case "r": { const fresh = $("[data-new]:not([hidden])"); if (fresh) { event.preventDefault(); fresh.click(); } break; }
      case ",": case ".": { const step = $(event.key === "," ? "[data-step=back]" : "[data-step=forth]"); if (step?.href) { event.preventDefault(); step.click(); } break; }
    }
  });

  // A picture wider than the page opens where the chosen task is.
  const chosen = $(".graph [aria-current] .box");
  if (chosen) {
    const graph = chosen.closest(".graph");
    const box = chosen.getBoundingClientRect(), frame = graph.getBoundingClientRect();
    if (box.right > frame.right - 12) graph.scrollLeft += box.right - frame.right + frame.width / 3;
  }

  // After a refusal the first field that is wrong has the focus.
  $("[aria-invalid=true]:not([autofocus])")?.focus();
  // Without script a dialog's content is part of the page; with script it is shown as one.
  const waiting = $("dialog[data-show]");
  if (waiting) { waiting.removeAttribute("open"); waiting.showModal(); }
})();
