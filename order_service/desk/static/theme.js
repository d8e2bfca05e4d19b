// Before the first paint, so that nobody who chose dark sees a flash of light. No module, since
// those run after the page was painted.
(() => {
  const chosen = localStorage.getItem("desk-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
