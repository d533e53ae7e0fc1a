-- An app takes a ticket for every connection. Those of last week tell nobody anything, so whoever takes
-- a new one clears them away; row security keeps that to the current organisation.

grant delete on platform.tokens to accounts;
