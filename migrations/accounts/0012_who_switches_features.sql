-- Feature flags are the platform's, as users are; the accounts domain keeps them, for the organisation
-- it works for.

grant insert, update on platform.feature_flags to accounts;
