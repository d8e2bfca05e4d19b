// An order's life by the types that openapi-typescript makes, with openapi-fetch. Arguments: base URL, user.

import createClient from "openapi-fetch";
import type { components, paths } from "./generated.js";

type Order = components["schemas"]["Order"];
const [baseUrl, username, password] = process.argv.slice(2) as [string, string, string];
const client = createClient<paths>({ baseUrl });

function answered<T>({ data, error }: { data?: T; error?: unknown }): T {
  if (data === undefined) throw new Error(JSON.stringify(error));
  return data;
}

const tokens = answered(
  await client.POST("/token/", {
    body: { grant_type: "password", username, password },
    bodySerializer: (body) => new URLSearchParams(body as Record<string, string>),
    headers: { "Content-Type": "application/x-www-form-urlencoded" },
  }),
);
client.use({
  onRequest({ request }) {
    request.headers.set("Authorization", `Bearer ${tokens.access_token}`);
    return request;
  },
});
const items = [{ sku: "PEN", quantity: "2", unit_price: "9.99" }];
const placed = answered(await client.POST("/orders/", { body: { items, tax_included: true } })) as Order;
const params = { path: { order_id: placed.id } };
answered(
  await client.POST("/orders/{order_id}/payments/", {
    params,
    body: { kind: "capture", source: "manual", provider_reference: "pi_1" },
  }),
);
answered(await client.POST("/orders/{order_id}/shipments/", { params, body: { carrier: "DHL" } }));
const read = answered(await client.GET("/orders/{order_id}/", { params }));
if (read.status !== "SHIPPED" || read.total_price !== "19.98") throw new Error(JSON.stringify(read));
console.log(read.number, read.status);
