"""An order's life by the client that openapi-python-client makes. Arguments: base URL, user."""

import sys

from order_service_client import AuthenticatedClient, Client
from order_service_client.api.accounts import accounts_log_in
from order_service_client.api.orders import orders_place
from order_service_client.api.payments import payments_add
from order_service_client.api.queries import orders_get
from order_service_client.api.shipments import shipments_dispatch
from order_service_client.models import (
    Item,
    Order,
    OrderStatus,
    PaymentRequest,
    PaymentRequestKind,
    PlaceOrderRequest,
    ShipRequest,
    TokenRequest,
    Tokens,
)

url, email, password = sys.argv[1:]
login = TokenRequest(username=email, password=password)
tokens = accounts_log_in.sync(client=Client(base_url=url), body=login)
assert isinstance(tokens, Tokens), tokens
client = AuthenticatedClient(base_url=url, token=tokens.access_token)

items = [Item(sku="PEN", quantity="2", unit_price="9.99")]
placed = orders_place.sync(client=client, body=PlaceOrderRequest(items=items))
assert isinstance(placed, Order), placed
order_id = str(placed.id)
payment = PaymentRequest(kind=PaymentRequestKind.CAPTURE, provider_reference="pi_1")
paid = payments_add.sync(order_id, client=client, body=payment)
assert isinstance(paid, Order), paid
shipped = shipments_dispatch.sync(order_id, client=client, body=ShipRequest(carrier="DHL"))
assert isinstance(shipped, Order), shipped
read = orders_get.sync(order_id, client=client)
assert isinstance(read, Order), read
assert (read.status, read.total_price) == (OrderStatus.SHIPPED, "19.98"), read
print(read.number, read.status)
