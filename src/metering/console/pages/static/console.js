// What pages do beside being read; each of them works without.
"use strict";

const LIMITS_EVERY_MS = 5000;

// Shows the limits as they are now, for as long as somebody looks.
function keepFresh(part) {
  setInterval(async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(location.href, { credentials: "same-origin" });
      if (!answer.ok || answer.redirected) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const now = page.getElementById(part.id);
      if (now) part.replaceChildren(...now.childNodes);
    } catch {
      // The network is away; what is shown stays until it is back.
    }
  }, LIMITS_EVERY_MS);
}

// Copies what a button names.
function copies(button) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copies).textContent;
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  });
}

document.querySelectorAll("[data-fresh]").forEach(keepFresh);
if (navigator.clipboard) document.querySelectorAll("[data-copies]").forEach(copies);
