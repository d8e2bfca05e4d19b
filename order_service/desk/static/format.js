// Formats numbers, amounts, ages and times. Amounts stay texts: no float ever holds money.

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const SHORT = new Intl.DateTimeFormat(undefined, {
  month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit",
});
const LONG = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const COUNT = new Intl.NumberFormat("en");

// "1234567.50" as "1,234,567.50"
export function amount(text) {
  const [whole, fraction] = String(text).split(".");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return fraction === undefined ? grouped : `${grouped}.${fraction}`;
}

export function money(text, currency) {
  return text === null || text === undefined ? "–" : `${amount(text)} ${currency}`;
}

export function isZero(text) {
  return /^-?0*\.?0*$/.test(text);
}

// The exact sum of two amounts of one currency; `sign` -1 subtracts the second.
export function addAmounts(first, second, sign = 1) {
  const digits = Math.max(decimals(first), decimals(second));
  const sum = scaled(first, digits) + BigInt(sign) * scaled(second, digits);
  const text = String(sum < 0n ? -sum : sum).padStart(digits + 1, "0");
  const whole = text.slice(0, text.length - digits);
  return `${sum < 0n ? "-" : ""}${whole}${digits ? `.${text.slice(-digits)}` : ""}`;
}

// `text` times `factor` by `divisor`, rounded half up to so many digits.
export function partOf(text, factor, divisor, digits) {
  const finer = Math.max(decimals(text), digits);
  const whole = BigInt(divisor) * 10n ** BigInt(finer - digits);
  const minor = (2n * scaled(text, finer) * BigInt(factor) + whole) / (2n * whole);
  const padded = String(minor).padStart(digits + 1, "0");
  return digits ? `${padded.slice(0, -digits)}.${padded.slice(-digits)}` : padded;
}

function decimals(text) {
  return String(text).split(".")[1]?.length ?? 0;
}

function scaled(text, digits) {
  return BigInt(String(text).replace(".", "")) * 10n ** BigInt(digits - decimals(text));
}

export function count(number) {
  return COUNT.format(number);
}

// Seconds as "42 s", "7 min", "3 h", "12 d".
export function duration(seconds) {
  const s = Math.max(0, seconds);
  if (s < MINUTE) return `${Math.floor(s)} s`;
  if (s < HOUR) return `${Math.floor(s / MINUTE)} min`;
  if (s < 2 * DAY) return `${Math.floor(s / HOUR)} h`;
  return `${Math.floor(s / DAY)} d`;
}

// A lag: tenths of a second below 10 s. `seconds` null: unknown.
export function lag(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  return seconds > 0 && seconds < 10 ? `${Math.max(0.1, seconds).toFixed(1)} s` : duration(seconds);
}

export function age(instant, now = Date.now()) {
  return duration((now - Date.parse(instant)) / 1000);
}

// In the viewer's time zone; with the year only if it is not the current one.
export function time(instant) {
  const at = new Date(instant);
  return at.getFullYear() === new Date().getFullYear() ? SHORT.format(at) : LONG.format(at);
}

export function utc(instant) {
  return `${new Date(instant).toISOString().replace("T", " ").replace("Z", "")} UTC`;
}

// "PARTIALLY_SHIPPED" as "Partially shipped"
export function words(name) {
  const text = String(name).replaceAll("_", " ").toLowerCase();
  return text.charAt(0).toUpperCase() + text.slice(1);
}

// "ShipmentDispatched" as "Shipment dispatched"
export function eventName(type) {
  const text = type.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
  return text.charAt(0).toUpperCase() + text.slice(1);
}
