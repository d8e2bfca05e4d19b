// The login form.

import { html, useState } from "./vendor/preact-htm.js";
import { login, session } from "./session.js";
import { useStore } from "./store.js";

export function Login() {
  const { expired } = useStore(session);
  const [state, setState] = useState({});
  const submit = async (event) => {
    event.preventDefault();
    const fields = new FormData(event.target);
    setState({ busy: true });
    try {
      await login(fields.get("username"), fields.get("password"));
    } catch (error) {
      setState({ error: error.status ? error.message : "The service cannot be reached." });
    }
  };
  return html`<main class="centered">
    <form class="login" onSubmit=${submit}>
      <h1>Order desk</h1>
      ${expired && html`<p role="status">Your session has ended. Log in again to continue where you were.</p>`}
      <label>E-mail<input name="username" type="email" autocomplete="username" required autofocus /></label>
      <label>Password<input name="password" type="password" autocomplete="current-password" required /></label>
      <p class="bad" role="alert">${state.error}</p>
      <button class="primary" disabled=${state.busy}>${state.busy ? "Logging in …" : "Log in"}</button>
    </form>
  </main>`;
}
