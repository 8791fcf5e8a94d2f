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

// What a bar says is shown beside the pointer, at once.
function tell(chart) {
  const tip = document.createElement("p");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true");
  chart.append(tip);
  for (const column of chart.querySelectorAll(".column")) {
    const title = column.querySelector("title");
    const told = title.textContent;
    title.remove();
    column.addEventListener("pointerenter", () => {
      const [bar, box] = [column.getBoundingClientRect(), chart.getBoundingClientRect()];
      tip.textContent = told;
      tip.hidden = false;
      const after = bar.right - box.left + 8;
      const before = bar.left - box.left - tip.offsetWidth - 8;
      const fits = after + tip.offsetWidth <= box.width;
      tip.style.left = `${fits ? after : Math.max(0, before)}px`;
      tip.style.top = fits || before >= 0 ? "0.5rem" : `${-tip.offsetHeight}px`;
    });
    column.addEventListener("pointerleave", () => { tip.hidden = true; });
  }
}

document.querySelectorAll(".chart:has(.column)").forEach(tell);
document.querySelectorAll("[data-fresh]").forEach(keepFresh);
if (navigator.clipboard) document.querySelectorAll("[data-copies]").forEach(copies);
