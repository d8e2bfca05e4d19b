"""An order's life by the Python client that openapi-generator makes. Arguments: base URL, user."""

import sys

import openapi_client as generated

url, email, password = sys.argv[1:]
configuration = generated.Configuration(host=url)
with generated.ApiClient(configuration) as client:
    tokens = generated.AccountsApi(client).accounts_log_in(username=email, password=password)
    configuration.access_token = tokens.access_token

    items = [generated.Item(sku="PEN", quantity="2", unit_price="9.99")]
    placed = generated.OrdersApi(client).orders_place(generated.PlaceOrderRequest(items=items))
    order_id = str(placed.id)
    payment = generated.PaymentRequest(kind="capture", provider_reference="pi_1")
    generated.PaymentsApi(client).payments_add(order_id, payment)
    shipping = generated.ShipRequest(carrier="DHL")
    generated.ShipmentsApi(client).shipments_dispatch(order_id, ship_request=shipping)
    read = generated.QueriesApi(client).orders_get(order_id)

assert (read.status, read.total_price) == (generated.OrderStatus.SHIPPED, "19.98"), read
print(read.number, read.status)
