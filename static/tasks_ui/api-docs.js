// The API page: sends what a form says and shows what comes back. The token stays in this page's memory.
"use strict";

const token = document.getElementById("token");

function open(hash) {
  const call = hash && document.getElementById(hash.slice(1));
  if (call instanceof HTMLDetailsElement) call.open = true;
}

function request(form) {
  let path = form.dataset.path;
  const query = new URLSearchParams();
  const headers = { Accept: "application/json" };
  let body;
  for (const field of form.querySelectorAll("[data-place]")) {
    const value = field.value;
    if (field.dataset.place === "body") body = value;
    else if (field.dataset.place === "path") path = path.replace(`{${field.name}}`, encodeURIComponent(value));
    else if (value === "") continue;
    else if (field.dataset.place === "query") query.append(field.name, value);
    else headers[field.name] = value;
  }
  if (token.value) headers.Authorization = `Bearer ${token.value.trim()}`;
  else if (form.dataset.method !== "GET") headers["X-CSRFToken"] = document.querySelector("[name=csrfmiddlewaretoken]").value;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const text = query.toString();
  return [path + (text ? `?${text}` : ""), { method: form.dataset.method, headers, body, credentials: token.value ? "omit" : "same-origin" }];
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

async function send(event) {
  event.preventDefault();
  const form = event.currentTarget;
  const said = form.querySelector("output");
  const shown = form.querySelector(".api-answer");
  const started = performance.now();
  said.textContent = "Sending…";
  try {
    const answer = await fetch(...request(form));
    const text = await answer.text();
    const tag = answer.headers.get("ETag");
    said.textContent = `${answer.status} ${answer.statusText} · ${Math.round(performance.now() - started)} ms${tag ? ` · ETag ${tag}` : ""}`;
    shown.textContent = pretty(text) || "(empty)";
  } catch (error) {
    said.textContent = "No answer came.";
    shown.textContent = String(error);
  }
  shown.hidden = false;
}

for (const form of document.querySelectorAll("form.try")) form.addEventListener("submit", send);
document.querySelector(".api-token").addEventListener("submit", (event) => event.preventDefault());
window.addEventListener("hashchange", () => open(location.hash));
open(location.hash);
