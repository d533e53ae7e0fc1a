-- Remembered answers of commands are deleted when they are a day old. Without an index the duty that does
-- would read all of them, each time it looks.
create index idempotency_by_age on platform.idempotency (created_at);
