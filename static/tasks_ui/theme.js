// Runs before the first paint: the chosen theme, and the visitor's time zone for the server.
(() => {
  "use strict";
  const root = document.documentElement;
  try {
    const theme = localStorage.getItem("theme");
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    const density = localStorage.getItem("density");
    if (density === "compact") root.dataset.density = density;
  } catch { /* Storage is switched off: the system's theme. */ }
  root.dataset.script = "on";
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const cookie = `zone=${encodeURIComponent(zone || "UTC")}`;
  if (!document.cookie.split("; ").includes(cookie)) {
    document.cookie = `${cookie}; path=/; max-age=31536000; samesite=lax${location.protocol === "https:" ? "; secure" : ""}`;
  }
})();
