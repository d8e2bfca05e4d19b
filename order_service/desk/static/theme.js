// Sets the theme before the first paint, so that the dark theme does not start with a white flash. It
// is no module, since modules run after the first paint.
(() => {
  const chosen = localStorage.getItem("desk-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
