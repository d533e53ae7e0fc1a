-- A letter with a link that lets its reader in is kept sealed until it is sent, and not at all from
-- then on: who may list messages may not therefore sign in as their recipients.

alter table reach.messages add column sealed_body bytea;
