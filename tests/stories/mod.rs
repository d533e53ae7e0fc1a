//! The stories: what a user does, and what the platform makes of it.

mod a_job_order_reaches_four_domains;
mod a_refused_request_changes_nothing;
mod an_agent_sees_its_own_organisation;
mod an_operator_kills_a_process;
mod an_operator_looks_inside_a_process;
