//! Whenever this happens, reach says that.

#![expect(clippy::unnecessary_wraps, reason = "a reaction may answer nothing; these never do")]

use contracts::accounts::{PasswordResetRequested, UserInvited};
use contracts::reach::Channel;
use contracts::recruit::JobOrderOpened;
use platform::{Principal, Recorded};

use crate::letter::QueueLetter;
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

/// Whenever somebody is invited, send them the letter with the link.
pub(crate) fn queue_invitation(invited: &Recorded<UserInvited>) -> Option<QueueLetter> {
    let UserInvited { user_id, link_id, letter, .. } = &invited.data;
    Some(QueueLetter {
        user_id: *user_id,
        letter: letter.clone(),
        occasion: format!("invitation:{link_id}"),
    })
}

/// Whenever somebody asks for another password, send them the letter with the link.
pub(crate) fn queue_password_reset(
    asked: &Recorded<PasswordResetRequested>,
) -> Option<QueueLetter> {
    let PasswordResetRequested { user_id, link_id, letter } = &asked.data;
    Some(QueueLetter {
        user_id: *user_id,
        letter: letter.clone(),
        occasion: format!("password_reset:{link_id}"),
    })
}
