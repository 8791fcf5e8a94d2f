// What pages do beside being read; each of them works without.
"use strict";

const LIMITS_EVERY_MS = 5000;

// Shows a part of a page as it is now on the page it names, as long as somebody looks.
function keepFresh(part) {
  setInterval(async () => {
    if (document.hidden || part.matches(":focus-within")) return;
    try {
      const answer = await fetch(part.dataset.fresh, { credentials: "same-origin" });
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

// Where the navigation is a strip, the present page is in sight.
document.querySelectorAll(".side nav [aria-current]").forEach((link) => {
  link.scrollIntoView({ block: "nearest", inline: "center" });
});

document.querySelectorAll("[data-fresh]").forEach(keepFresh);
if (navigator.clipboard) document.querySelectorAll("[data-copies]").forEach(copies);
