// Board: every open order as a card in the column of its status; cards move as events arrive.

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/preact-htm.js";
import { labelOf, statusAction } from "../actions.js";
import { fitting, STATUSES } from "../board_columns.js";
import { Board } from "../board_store.js";
import { CommandDialog } from "../command.js";
import { Age, Dialog, ErrorBox, Loading, Status, Time } from "../components.js";
import { amount, count, words } from "../format.js";
import { useKeys } from "../keys.js";
import { link, requery } from "../router.js";
import { useNow } from "../store.js";

const CARD_PX = 78; // including the gap below, as in desk.css
const OVERSCAN = 6;
const FRESH_MS = 1_500;
const HOUR_MS = 3600 * 1000;
const AGES = [["", "Any age"], ["1", "Older than 1 h"], ["4", "Older than 4 h"], ["24", "Older than 1 day"], ["72", "Older than 3 days"]];
const SETTABLE = ["PAID", "SHIPPED", "DELIVERED", "CANCELED"];
const FLAGS = { credit_due: ["credit", "Credit due"], return_open: ["return", "Return open"], refund_failed: ["refund!", "Refund failed"], on_hold: ["hold", "On hold"], self_service: ["paid?", "Paid by the customer's own word"] };
const STATES = { connecting: "Connecting …", live: "Live", offline: "Reconnecting …", refused: "Refused" };

export default function BoardScreen({ query }) {
  const [, render] = useState();
  const [failure, setFailure] = useState(null);
  const [attempt, setAttempt] = useState(0);
  const board = useRef(null);
  const now = useNow();
  useEffect(() => {
    const controller = new AbortController();
    board.current = new Board(() => render({}));
    setFailure(null);
    board.current.start(controller.signal).catch((error) => controller.signal.aborted || setFailure(error));
    return () => (controller.abort(), board.current.stop());
  }, [attempt]);

  if (failure) return html`<${ErrorBox} error=${failure} retry=${() => setAttempt(attempt + 1)} />`;
  if (!board.current?.loaded) return html`<${Loading} what="Loading the board" />`;
  return html`<${Columns} board=${board.current} query=${query} now=${now} />`;
}

function Columns({ board, query, now }) {
  const [command, setCommand] = useState(null); // {card, action}
  const [choosing, setChoosing] = useState(null);
  const [cursor, setCursor] = useState(null); // {status, index}
  const filter = { olderThanMs: Number(query.age || 0) * HOUR_MS, text: query.text ?? "" };
  board.sorted.sortBy(query.sort || "changed");
  const columns = fitting(board.sorted.columns, filter, now);
  const move = (card, status) => card.status !== status && setCommand({ card, action: statusAction(card.id, status) });
  const step = (dx, dy) => setCursor((at) => stepped(columns, at, dx, dy));
  const current = () => board.cards.get(document.activeElement?.dataset?.id) ?? columns[cursor?.status]?.[cursor.index];
  useKeys({
    j: ["Next card", () => step(0, 1)],
    k: ["Previous card", () => step(0, -1)],
    l: ["Column to the right", () => step(1, 0)],
    h: ["Column to the left", () => step(-1, 0)],
    m: ["Move the card", () => current() && setChoosing(current())],
  });

  return html`<${Toolbar} board=${board} query=${query} />
    <div class="board" role="group" aria-label="Orders by status">
      ${STATUSES.map((status) => html`<${Column} key=${status} status=${status} cards=${columns[status]} now=${now}
        summary=${board.columns.get(status)} complete=${!board.more} cursor=${cursor?.status === status ? cursor : null}
        onDropCard=${(id) => board.cards.has(id) && move(board.cards.get(id), status)} onChoose=${setChoosing} />`)}
    </div>
    ${choosing && html`<${Choice} card=${choosing} onClose=${() => setChoosing(null)}
      onChoice=${(status) => (setChoosing(null), move(choosing, status))} />`}
    ${command && html`<${CommandDialog} order=${command.card} action=${command.action}
      onClose=${() => setCommand(null)} onDone=${(order) => (setCommand(null), board.show(order))} />`}`;
}

// The next card for the keyboard: {status, index, step}. `step` makes each one a new value.
function stepped(columns, at, dx, dy) {
  const filled = STATUSES.filter((status) => columns[status].length > 0);
  if (filled.length === 0) return null;
  const step = (at?.step ?? 0) + 1;
  if (!at || !filled.includes(at.status)) return { status: filled[0], index: 0, step };
  const status = filled[Math.min(filled.length - 1, Math.max(0, filled.indexOf(at.status) + dx))];
  return { status, index: Math.min(columns[status].length - 1, Math.max(0, at.index + dy)), step };
}

function Toolbar({ board, query }) {
  const set = (name) => (event) => requery({ [name]: event.target.value });
  return html`<div class="head"><h1>Board</h1>
    <span class="live" data-state=${board.state} role="status">${STATES[board.state]}${board.state === "refused" ? `: ${board.error.message}` : ""}</span>
    ${board.more && html`<span class="muted small">Only the latest ${count(board.cards.size)} are shown; see <a href="#/orders">all orders</a></span>`}
    <span class="row end">
      <input data-search type="search" aria-label="Filter cards" placeholder="Filter: number, customer" value=${query.text ?? ""} onInput=${set("text")} />
      <select aria-label="Age" onChange=${set("age")}>${AGES.map(([value, text]) => html`<option value=${value} selected=${value === (query.age ?? "")}>${text}</option>`)}</select>
      <select aria-label="Order of cards" onChange=${set("sort")}>
        <option value="">Latest change first</option><option value="waiting" selected=${query.sort === "waiting"}>Longest waiting first</option></select>
    </span></div>`;
}

// --- a column ------------------------------------------------------------------------------------

// The page holds only the cards in view, however many there are.
function Column({ status, cards, summary, complete, now, cursor, onDropCard, onChoose }) {
  const list = useRef();
  const [view, setView] = useState({ top: 0, height: 800 });
  const [over, setOver] = useState(false);
  const measure = () => list.current && setView({ top: list.current.scrollTop, height: list.current.clientHeight });
  useLayoutEffect(() => {
    measure();
    addEventListener("resize", measure);
    return () => removeEventListener("resize", measure);
  }, []);
  useCursor(list, cursor, measure);

  const first = Math.max(0, Math.floor(view.top / CARD_PX) - OVERSCAN);
  const last = Math.min(cards.length, Math.ceil((view.top + view.height) / CARD_PX) + OVERSCAN);
  const drop = (event) => (event.preventDefault(), setOver(false), onDropCard(event.dataTransfer.getData("text/order-id")));
  return html`<section class="column" data-status=${status} data-over=${over} aria-label=${words(status)}
      onDragOver=${(event) => (event.preventDefault(), setOver(true))}
      onDragLeave=${(event) => event.currentTarget.contains(event.relatedTarget) || setOver(false)} onDrop=${drop}>
    <${Summary} status=${status} cards=${cards} summary=${summary} complete=${complete} now=${now} />
    <div class="cards" ref=${list} onScroll=${measure} tabindex=${cards.length ? -1 : null}>
      <ul style=${{ height: `${cards.length * CARD_PX}px` }}>
        ${cards.slice(first, last).map((card, i) => html`<${Card} key=${card.id} card=${card} now=${now}
          top=${(first + i) * CARD_PX} onChoose=${onChoose} />`)}
      </ul>
    </div>
  </section>`;
}

function useCursor(list, cursor, measure) {
  useEffect(() => {
    if (!cursor) return undefined;
    const { current } = list;
    const top = cursor.index * CARD_PX;
    if (top < current.scrollTop) current.scrollTop = top;
    if (top + CARD_PX > current.scrollTop + current.clientHeight) current.scrollTop = top + CARD_PX - current.clientHeight;
    measure();
    const frame = requestAnimationFrame(() =>
      [...current.querySelectorAll("[data-row]")].find((row) => row.dataset.top === String(top))?.focus(),
    );
    return () => cancelAnimationFrame(frame);
  }, [cursor?.step]);
}

function Summary({ status, cards, summary, complete, now }) {
  const totals = [...(summary?.totals ?? [])].filter(([, total]) => !/^-?0*\.?0*$/.test(total));
  const oldest = useMemo(() => cards.reduce((least, c) => (least && least < c.created_at ? least : c.created_at), null), [cards]);
  return html`<header>
    <h2><${Status} of=${status} /> <span class="count">${count(summary?.count ?? 0)}</span></h2>
    <p class="small muted">${totals.slice(0, 3).map(([currency, total]) => html`<span key=${currency} class="sum">${amount(total)} ${currency}</span> `)}</p>
    <p class="small muted">${oldest ? html`oldest ${complete ? "" : "shown "}<${Age} at=${oldest} now=${now} />` : "none"}</p>
  </header>`;
}

function Card({ card, top, now, onChoose }) {
  const fresh = card.changedAt && Date.now() - card.changedAt < FRESH_MS;
  const drag = (event) => {
    event.dataTransfer.setData("text/order-id", card.id);
    event.dataTransfer.effectAllowed = "move";
  };
  return html`<li class="card ${fresh ? "fresh" : ""}" draggable="true" onDragStart=${drag} style=${{ transform: `translateY(${top}px)` }}>
    <a data-row data-id=${card.id} data-top=${top} draggable="false" href=${link(["orders", card.number])}>
      <span class="line"><strong>${card.number}</strong><span class="muted small"><${Age} at=${card.created_at} now=${now} /></span></span>
      <span class="line flags muted small"><span class="clip">${card.customer ?? card.user_id}</span>
        ${card.flags.map((flag) => html`<${Flag} key=${flag} flag=${flag} />`)}</span>
      <span class="line"><span>${amount(card.total_price)} <small>${card.currency}</small></span></span>
    </a>
    <button type="button" class="plain more" aria-label=${`Move ${card.number}`} title="Move (m)" onClick=${() => onChoose(card)}>⋯</button>
  </li>`;
}

function Flag({ flag }) {
  const [text, title] = FLAGS[flag] ?? [flag, flag];
  return html`<b data-flag=${flag} title=${title}><span aria-hidden="true">${text}</span><span class="hidden">${title}</span></b>`;
}

function Choice({ card, onChoice, onClose }) {
  const others = SETTABLE.filter((status) => status !== card.status);
  return html`<${Dialog} title=${`Move ${card.number}`} onClose=${onClose}>
    <p class="muted">${card.customer ?? card.user_id}, placed <${Time} at=${card.created_at} />, now <${Status} of=${card.status} /></p>
    <div class="stack">${others.map((status, index) => html`<button key=${status} type="button" autofocus=${index === 0}
      onClick=${() => onChoice(status)}>${labelOf(statusAction(card.id, status))}</button>`)}</div>
  <//>`;
}
