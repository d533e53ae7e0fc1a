//! Whenever this happens, reach says that.

#![expect(clippy::unnecessary_wraps, reason = "a reaction may answer nothing; these never do")]

use contracts::reach::Channel;
use contracts::recruit::JobOrderOpened;
use platform::{Principal, Recorded};

use crate::message::QueueMessage;

/// Whenever a job order is opened, confirm it to the member who opened it.
pub(crate) fn queue_confirmation(opened: &Recorded<JobOrderOpened>) -> Option<QueueMessage> {
    let JobOrderOpened { job_order_id, title, headcount, client_name, .. } = &opened.data;
    let client = client_name.as_ref().map(|name| format!(" for {name}")).unwrap_or_default();
    let people =
        if *headcount == 1 { "1 person".to_owned() } else { format!("{headcount} people") };
    Some(QueueMessage {
        channel: Channel::Notice,
        recipient: match &opened.scope.principal {
            Principal::User { user_id, .. } => format!("member:{user_id}"),
            Principal::System { name } => format!("duty:{name}"),
            Principal::Anonymous => "nobody".to_owned(),
        },
        body: format!("Job order opened{client}: {title}, {people}."),
        about_id: Some(job_order_id.uuid()),
        occasion: Some(format!("job_order_opened:{job_order_id}")),
    })
}
