// An order's life by the TypeScript client that openapi-generator makes. Arguments: base URL, user.

import * as generated from "./generated/index.js";

const [basePath, username, password] = process.argv.slice(2) as [string, string, string];
const accounts = new generated.AccountsApi(new generated.Configuration({ basePath }));
const { accessToken } = await accounts.accountsLogIn({ username, password });
const configuration = new generated.Configuration({ basePath, accessToken });

const items = [{ sku: "PEN", quantity: "2", unitPrice: "9.99" }];
const placed = await new generated.OrdersApi(configuration).ordersPlace({ placeOrderRequest: { items } });
const orderId = (placed as generated.Order).id;
await new generated.PaymentsApi(configuration).paymentsAdd({
  orderId,
  paymentRequest: { kind: generated.PaymentRequestKindEnum.Capture, providerReference: "pi_1" },
});
await new generated.ShipmentsApi(configuration).shipmentsDispatch({ orderId, shipRequest: { carrier: "DHL" } });
const read = await new generated.QueriesApi(configuration).ordersGet({ orderId });
if (read.status !== generated.OrderStatus.Shipped || read.totalPrice !== "19.98") throw new Error(JSON.stringify(read));
console.log(read.number, read.status);
