// An order's life by the client that hey-api makes. Arguments: base URL, user.

import { client } from "./generated/client.gen.js";
import * as api from "./generated/sdk.gen.js";
import type { Order } from "./generated/types.gen.js";

const [baseUrl, username, password] = process.argv.slice(2) as [string, string, string];
client.setConfig({ baseUrl });

const { data: tokens } = await api.accountsLogIn({ body: { username, password }, throwOnError: true });
client.setConfig({ auth: () => tokens.access_token });
const items = [{ sku: "PEN", quantity: "2", unit_price: "9.99" }];
const { data: placed } = await api.ordersPlace({ body: { items }, throwOnError: true });
const path = { order_id: (placed as Order).id };
await api.paymentsAdd({ path, body: { kind: "capture", provider_reference: "pi_1" }, throwOnError: true });
await api.shipmentsDispatch({ path, body: { carrier: "DHL" }, throwOnError: true });
const { data: read } = await api.ordersGet({ path, throwOnError: true });
if (read.status !== "SHIPPED" || read.total_price !== "19.98") throw new Error(JSON.stringify(read));
console.log(read.number, read.status);
