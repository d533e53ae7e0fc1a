//! On a socket nobody hears another organisation.

use platform::Role;
use serde_json::json;
use testkit::{ACME, GLOBEX};

use crate::support::{job_order, serve};

#[tokio::test(flavor = "multi_thread")]
async fn nobody_joins_the_topics_of_another_organisation() {
    let served = serve().await;
    let stranger = served.system.member(GLOBEX, Role::Staff);
    let aggregate = "01900000-0000-7000-8000-0000000000aa";
    let topics = [
        format!("org:{ACME}"),
        format!("org:{ACME}:recruit"),
        format!("org:{ACME}:recruit:{aggregate}"),
        format!("org:{}:recruit", ACME.to_string().to_uppercase()),
        format!("org:{ACME} :recruit"),
        "org:*:recruit".to_owned(),
        "org::recruit".to_owned(),
        "system:supervision".to_owned(),
    ];

    for topic in topics {
        let (_, reply) = served.ask_to_join(&stranger, &topic).await;
        assert_eq!(reply["status"], "error", "{topic}: {reply}");
    }
    served.system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_gets_no_event_of_another_organisation() {
    let served = serve().await;
    let globex = served.system.member(GLOBEX, Role::Staff);
    let mut channel = served.join(&globex, &format!("org:{GLOBEX}:recruit")).await;

    let path = "/api/v1/recruit/job_orders";
    served.post(&served.recruiter(), path, job_order()).await;
    served.system.settle().await;
    let own = json!({"title": "Order of Globex", "headcount": 1});
    served.post(&globex, path, own).await;

    let first = channel.next("job_order_opened").await;
    assert!(first.to_string().contains("Order of Globex"), "{first}");
    assert!(!first.to_string().contains(&ACME.to_string()), "{first}");
    served.system.stop().await;
}
