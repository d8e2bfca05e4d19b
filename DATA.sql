-- :n orders of 4 partitions with :e events each (the first one is an OrderPlaced, the others OrderLineAdded-like notes that no read model
-- sees), in an empty migrated database, as its owner:  psql -v n=1000000 -v e=1 -f DATA.sql
-- Ids are UUIDv7 in form: time first; the last hex digit gives the partition (id % 4).
\set ON_ERROR_STOP on
SET synchronous_commit = off; SET maintenance_work_mem = '512MB'; SET max_parallel_workers_per_gather = 0;
BEGIN;
CREATE TEMP TABLE new_order ON COMMIT DROP AS
SELECT n, (n % 4)::smallint AS partition, n / 4 AS nth,
       (lpad(to_hex(1767225600000 + n / 4), 12, '0') || '7' || substr(h, 1, 3) || '8' || substr(h, 4, 14)
        || to_hex((get_byte(decode(h, 'hex'), 15) & 12) + n % 4))::uuid AS id,
       ('00000000-0000-7000-8000-' || lpad(to_hex(n % 5000), 12, '0'))::uuid AS user_id,
       timestamptz '2026-01-01' + make_interval(secs => (n / 64) * 0.05) AS at
FROM (SELECT n, md5(n::text) AS h FROM generate_series(0, :n - 1) n) x;
INSERT INTO events (position, recorded_at, stream_id, event_id, version, partition, schema_version, type, data, metadata)
SELECT (v - 1) * (:n / 4) + nth + 1, at + make_interval(secs => (v - 1) * 100000), id, gen_random_uuid(), v, partition, 1,
       CASE v WHEN 1 THEN 'OrderPlaced' ELSE 'OrderNoteAdded' END,
       CASE v WHEN 1 THEN '{"user_id":"' || user_id || '","currency":"USD","lines":[{"line_id":1,"sku":"SKU-' || n % 10000
            || '","name":null,"quantity":2,"unit_price_minor":' || n % 5000 || ',"attributes":{}}],"shipping_fee_minor":0,"discount_minor":0,"total_minor":'
            || 2 * (n % 5000) || ',"external_reference":null,"address_ref":null}'
       ELSE '{"text_ref":"' || id || '","visibility":"internal"}' END::json,
       '["user","AAAAAAAAcACAAAAAAAAAAA"]'
FROM new_order, generate_series(1, :e) v;
UPDATE partitions p SET position = m.position, recorded_at = m.at
FROM (SELECT partition, max(position) AS position, max(recorded_at) AS at FROM events GROUP BY partition) m WHERE m.partition = p.partition;
-- Read models (leave out to let the service or `replay` make them). The document is a short one: replay makes real ones.
INSERT INTO read_models.order_view (generation, partition, order_id, user_id, status, payment_status, fulfillment_status, currency, total_minor,
    version, created_at, updated_at, document, number, external_reference, amount_due_minor, credit_due_minor, lines, units, terms)
SELECT 1, partition, id, user_id, CASE n % 3 WHEN 0 THEN 'DELIVERED' WHEN 1 THEN 'PAID' ELSE 'PENDING' END,
       CASE WHEN n % 3 = 2 THEN 'UNPAID' WHEN n % 9973 = 0 THEN 'REFUNDED' ELSE 'PAID' END,
       CASE WHEN n % 9973 = 1 THEN 'RETURNED' WHEN n % 3 = 0 THEN 'DELIVERED' ELSE 'UNFULFILLED' END,
       'USD', 2 * (n % 5000), :e, at, at + make_interval(secs => (:e - 1) * 100000), '{}', 'A-' || 4 * (nth + 1) + partition || '-0', NULL, 0,
       CASE WHEN n % 9973 = 2 THEN 100 ELSE 0 END, 1, 2, ARRAY['sku-' || n % 10000]
FROM new_order;
UPDATE checkpoints c SET position = p.position FROM partitions p WHERE p.partition = c.partition;
COMMIT;
VACUUM (ANALYZE) events; VACUUM (ANALYZE) read_models.order_view;
