// Keeps a page up to date. The socket only says that something changed; what changed is fetched as HTML and patched in.
//
// In a page:
//   <tbody id="rows" data-live-topic="instances" data-live-src="/instances/?state=FAILED">
//     id               needed: the answer of `data-live-src` holds an element with the same id (a fragment or a whole page)
//     data-live-topic  what to listen to: "instances", "inbox", "overview", "instance:ID"; several are parted by spaces
//     data-live-src    where the fresh HTML is; default: this page's own address. Asked with the headers
//                      `HX-Request: true` and `X-Fragment: live` (one request for all regions with the same address)
//     data-live-rows   the children with an id are rows: each is patched in place, the order stays; rows that are no longer
//                      in the answer get the class `gone`; new rows wait behind the pill
//                      <button data-new="REGION-ID" hidden><span data-new-count></span> new</button>
//     data-live-shown  with data-live-rows: the answer is asked for with ?shown=ID,ID… (ids of the rows without their first
//                      two characters), so that rows are patched wherever they would stand now
//     data-live-grow   with data-live-rows: new rows come in at their place at once (histories)
//     data-live-since  the topic's sequence that the page was made with (of "instance:ID": the number of its last event)
//     data-live-pace   at least so many milliseconds between two fetches for this region (for what is seldom looked at)
//     data-live-tick   looked at every 20 seconds also when nothing happens (for what says how long it has been going on)
//     data-live-say    text that screen readers hear when it is another one than before
//   data-seq="…"       on a part: another value, or another data-state, makes it flash once (class `patched`)
//   data-live-keep     this element and what is in it are never touched (as is every form, dialog and field)
// Events on document: `live:patched` (detail: the region) after a change, `live:state` (detail: on, late, off).
(() => {
  "use strict";
  const POLL = 15000, BATCH = 300, LEAST = 1000, MOST = 3000, PATIENCE = 20000;
  const badge = document.getElementById("live");
  const announcer = document.getElementById("announcer");
  const regions = (topic) => [...document.querySelectorAll("[data-live-topic]")].filter((one) => !topic || one.dataset.liveTopic.split(" ").includes(topic));
  const topics = () => [...new Set(regions().flatMap((one) => one.dataset.liveTopic.split(" ")).filter(Boolean))];
  const seen = new Map();
  const subscribed = new Set();
  const answered = new Set();
  const dirty = new Set();
  const paced = new WeakMap();
  let socket = null, tries = 0, timer = 0, poll = 0, busy = false, notBefore = 0, state = "late", ended = false, late = 0;

  // --- The badge -----------------------------------------------------------------------------------------------
  const WORDS = { on: ["Live", "This page follows what happens"], late: ["Catching up", "Connecting"], off: ["Offline", "No connection; checks every 15 s"] };
  const show = (next) => {
    if (!badge || !topics().length) return;
    badge.hidden = false;
    if (badge.dataset.live === next && badge.title) return;
    state = next;
    badge.dataset.live = next;
    badge.title = WORDS[next][1];
    badge.querySelector("span").textContent = WORDS[next][0];
    if (next === "off") say("Offline. This page checks every 15 seconds.");
    document.dispatchEvent(new CustomEvent("live:state", { detail: next }));
  };

  // One polite sentence per five seconds at most: the newest wins.
  let said = 0, saying = 0, lastWords = "";
  const say = (text) => {
    if (!announcer || !text || text === lastWords) return;
    clearTimeout(saying);
    saying = setTimeout(() => { said = Date.now(); lastWords = text; announcer.textContent = text; }, Math.max(0, said + 5000 - Date.now()));
  };

  // --- Fetching and patching -----------------------------------------------------------------------------------
  const want = (topic) => {
    for (const one of topic ? [topic] : topics()) dirty.add(one);
    soon();
  };
  // The first change sets the moment: were each later one to put it off, a busy site would never be shown.
  const soon = (pause = 0) => { if (!timer) timer = setTimeout(refresh, Math.max(BATCH, notBefore - Date.now(), pause)); };

  const refresh = async () => {
    clearTimeout(timer);
    timer = 0;
    if (busy || document.hidden || !dirty.size || ended) return;
    busy = true;
    const asked = [...dirty];
    dirty.clear();
    const begun = Date.now(), here = location.href;
    const stale = new Set();
    for (const topic of asked) {
      for (const region of regions(topic)) {
        const wait = (paced.get(region) || 0) - begun;
        if (wait <= 0) { stale.add(region); if (region.dataset.livePace) paced.set(region, begun + Number(region.dataset.livePace)); }
        else setTimeout(() => want(topic), wait);
      }
    }
    const sources = new Map();
    for (const region of stale) {
      let source = region.dataset.liveSrc || location.pathname + location.search;
      const shown = document.querySelector("[data-live-shown]");
      if (!region.dataset.liveSrc && shown) {
        const ids = [...shown.children].filter((row) => row.id).map((row) => row.id.slice(2)).join(",");
        if (ids) source += `${source.includes("?") ? "&" : "?"}shown=${ids}`;
      }
      sources.set(source, [...(sources.get(source) || []), region]);
    }
    let well = true;
    for (const [source, targets] of sources) {
      try {
        const answer = await fetch(source, { headers: { "HX-Request": "true", "X-Fragment": "live" }, credentials: "same-origin", cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
        if (answer.status === 401) { finish("Signed out"); break; }
        if (!answer.ok) { well = answer.status < 500; continue; }
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        // Somebody has chosen another row meanwhile: this shows the page as it was before.
        if (location.href !== here) { asked.forEach((topic) => dirty.add(topic)); break; }
        for (const region of targets) {
          const news = region.isConnected && fresh.getElementById(region.id);
          if (news) patch(region, news);
        }
      } catch { well = false; }
    }
    // A slow server is asked less often.
    notBefore = Date.now() + Math.min(MOST, Math.max(LEAST, 3 * (Date.now() - begun)));
    busy = false;
    if (!well) for (const topic of asked) dirty.add(topic);
    else if (followed()) show("on");
    if (dirty.size) { clearTimeout(timer); timer = 0; soon(well ? 0 : 5000); }
  };

  // Live is a page all of whose topics the server has said it follows.
  const followed = () => socket?.readyState === 1 && [...subscribed].every((topic) => answered.has(topic));

  const finish = (words) => {
    ended = true;
    clearInterval(poll);
    socket?.close();
    show("off");
    if (badge) { badge.querySelector("span").textContent = words; badge.title = "Sign in again to go on"; }
  };

  const patch = (region, fresh) => {
    const before = region.dataset.liveSay;
    const changed = region.hasAttribute("data-live-rows") ? patchRows(region, fresh) : morph(region, fresh);
    if (region.dataset.liveRows !== undefined) for (const { name, value } of [...fresh.attributes]) if (name.startsWith("data-live-say")) region.setAttribute(name, value);
    if (fresh.dataset.liveSay && fresh.dataset.liveSay !== before) say(fresh.dataset.liveSay);
    if (changed) {
      window.htmx?.process(region);
      document.dispatchEvent(new CustomEvent("live:patched", { detail: region }));
    }
  };

  const patchRows = (region, fresh) => {
    let changed = false, waiting = 0;
    const grow = region.hasAttribute("data-live-grow");
    const old = new Map([...region.children].filter((row) => row.id).map((row) => [row.id, row]));
    const now = new Map([...fresh.children].filter((row) => row.id).map((row) => [row.id, row]));
    for (const [id, row] of old) {
      const news = now.get(id);
      if (news) { row.classList.remove("gone"); changed = morph(row, news) || changed; }
      else if (grow) { row.remove(); changed = true; }
      else row.classList.add("gone");
    }
    let last = null;
    for (const [id, row] of now) {
      if (old.has(id)) { last = old.get(id); continue; }
      if (!grow) { waiting += 1; continue; }
      const added = document.importNode(row, true);
      if (last) last.after(added); else region.prepend(added);
      flash(added);
      last = added;
      changed = true;
    }
    const pill = document.querySelector(`[data-new="${region.id}"]`);
    if (pill && !grow) {
      if (waiting && pill.hidden) say(`${waiting} new`);
      pill.hidden = !waiting;
      pill.querySelector("[data-new-count]").textContent = waiting >= now.size && now.size > 1 ? `${waiting}+` : `${waiting}`;
    }
    // Placeholders without an id (an empty page's sentence).
    if (!old.size && now.size && grow) for (const child of [...region.children]) if (!child.id) child.remove();
    return changed;
  };

  const KEPT = "form, dialog, input, textarea, select, [data-live-keep], [popover]";
  // What the page itself says of its parts: which is open, was sent, is chosen.
  const OWN = new Set(["open", "data-sent", "aria-selected", "aria-current"]);
  const morph = (old, fresh) => {
    if (old.isEqualNode(fresh)) return false;
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
      if (old.nodeType === 1 && old.matches(KEPT)) return false;
      old.replaceWith(document.importNode(fresh, true));
      return true;
    }
    if (old.nodeType !== 1) {
      if (old.nodeValue === fresh.nodeValue) return false;
      old.nodeValue = fresh.nodeValue;
      return true;
    }
    if (old.matches(KEPT)) return false;
    const marked = old.dataset.state !== fresh.dataset.state || old.dataset.seq !== fresh.dataset.seq;
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !OWN.has(name)) old.removeAttribute(name);
    for (const { name, value } of [...fresh.attributes]) if (old.getAttribute(name) !== value && !OWN.has(name)) old.setAttribute(name, value);
    const byId = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
    let at = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      const known = child.nodeType === 1 && child.id ? byId.get(child.id) : null;
      if (known && known !== at) old.insertBefore(known, at);
      else if (!known && at && at.nodeType === 1 && at.id && child.nodeType === 1 && at.id !== child.id && byId.has(at.id) && child.id) {
        old.insertBefore(document.importNode(child, true), at);
        continue;
      }
      const target = known || at;
      if (!target) { old.append(document.importNode(child, true)); continue; }
      const next = target.nextSibling;
      morph(target, child);
      at = next;
    }
    while (at) {
      const next = at.nextSibling;
      if (at.nodeType !== 1 || !at.matches(KEPT)) at.remove();
      at = next;
    }
    if (marked) flash(old);
    return true;
  };

  const flash = (element) => {
    element.classList.remove("patched");
    void element.getBoundingClientRect();
    element.classList.add("patched");
    setTimeout(() => element.classList.remove("patched"), 1300);
  };

  // What waits behind the pill is shown by loading the page anew: the newest are then first.
  document.addEventListener("click", (event) => {
    const pill = event.target.closest?.("[data-new]");
    if (!pill) return;
    const href = pill.dataset.newHref || location.href;
    if (href === location.href) location.reload(); else location.href = href;
  });

  // How far the page is: what the socket told last, else what the page was made with.
  const known = (topic) => {
    if (seen.has(topic)) return seen.get(topic);
    const since = document.querySelector(`[data-live-since][data-live-topic~="${topic}"]`)?.dataset.liveSince;
    return since ? Number(since) : undefined;
  };

  // --- The socket ----------------------------------------------------------------------------------------------
  const subscribe = (topic) => {
    if (socket?.readyState !== 1 || subscribed.has(topic)) return;
    subscribed.add(topic);
    const wish = { action: "subscribe", topic };
    if (known(topic) !== undefined) wish.since = known(topic);
    socket.send(JSON.stringify(wish));
  };

  const connect = () => {
    if (ended || !topics().length || (socket && socket.readyState < 2)) return;
    clearTimeout(late);
    late = setTimeout(() => { if (socket?.readyState !== 1) { show("off"); startPolling(); } }, tries ? 4000 : 6000);
    if (state !== "off") show("late");
    let mine;
    try { mine = socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/live/`); }
    catch { again(); return; }
    mine.onopen = () => {
      clearTimeout(late);
      subscribed.clear();
      answered.clear();
      stopPolling();
      topics().forEach(subscribe);
    };
    mine.onmessage = (event) => {
      let news;
      try { news = JSON.parse(event.data); } catch { return; }
      if (!news.topic) return;
      tries = 0;
      const before = known(news.topic);
      answered.add(news.topic);
      if (Number.isFinite(news.sequence)) seen.set(news.topic, news.sequence);
      // What concerns an instance and none of its tasks names nothing: the number tells that it is another one.
      // A page that does not know how far it is looks once it is followed, not before: what happens until then is told
      // to nobody.
      if (news.changed?.length || before === undefined || news.sequence > before) want(news.topic);
      else if (!dirty.size && !busy && followed()) show("on");
    };
    mine.onclose = (event) => {
      if (socket !== mine) return;
      socket = null;
      if (event.code === 4401) finish("Signed out"); else again();
    };
  };

  const again = () => {
    if (ended) return;
    if (state === "on") show("late");
    tries += 1;
    if (tries > 2) { show("off"); startPolling(); }
    setTimeout(connect, Math.min(10000, 500 * 2 ** Math.min(tries, 5)) * (0.6 + 0.8 * Math.random()));
  };
  const startPolling = () => { if (!poll) poll = setInterval(() => want(), POLL); };
  const stopPolling = () => { clearInterval(poll); poll = 0; };

  setInterval(() => {
    if (document.hidden || socket?.readyState !== 1) return;
    for (const region of document.querySelectorAll("[data-live-tick][data-live-topic]")) region.dataset.liveTopic.split(" ").forEach((topic) => topic && want(topic));
  }, 20000);

  addEventListener("online", () => { tries = 0; connect(); });
  addEventListener("offline", () => { socket?.close(); show("off"); });
  addEventListener("pagehide", () => socket?.close());
  addEventListener("pageshow", (event) => { if (event.persisted) { connect(); want(); } });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) { connect(); refresh(); } });
  // Parts that htmx brings in may listen to something new.
  document.addEventListener("htmx:afterSettle", () => { connect(); topics().forEach(subscribe); });

  window.orchestrator = Object.assign(window.orchestrator || {}, { live: { refresh: want, say, state: () => state } });
  connect();
})();
