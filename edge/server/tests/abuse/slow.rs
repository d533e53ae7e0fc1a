//! Clients that send slowly: each loses its own connection and takes nothing from anybody else.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Answer, JOB_ORDERS, SOON, Served, check, order, serve};

impl Served {
    /// Sends the beginning at once and the rest byte by byte, so that something always comes; what
    /// is heard until the server ends the connection.
    async fn trickle(&self, beginning: &str, rest: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        let (mut reader, mut writer) = stream.split();
        let mut read = Vec::new();
        let write = async {
            let _ = writer.write_all(beginning.as_bytes()).await;
            let mut beat = tokio::time::interval(Duration::from_millis(250));
            for byte in rest {
                beat.tick().await;
                if writer.write_all(&[*byte]).await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await;
        };
        let hear = async {
            let _ = reader.read_to_end(&mut read).await;
        };
        tokio::select! {
            () = write => {}
            heard = tokio::time::timeout(SOON, hear) => heard.expect("the server ends it"),
        }
        Answer::of(&read)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_sends_slowly_is_not_waited_for_and_costs_nobody_else_anything() {
    let served = serve().await;
    let body = order("Forklift driver");
    let length = format!("content-length: {}\r\n", body.len() + 1_000);
    let post = served.head(&format!("POST {JOB_ORDERS}"), &length);
    let get = served.head(&format!("GET {JOB_ORDERS}?limit=1"), "");
    let many_blanks = b" ".repeat(1_000);

    let slow_body = served.trickle(&post, &many_blanks);
    let slow_head = served.trickle(&get[..get.len() - 2], b"x-a: ".as_slice());
    let nothing = served.trickle("", &[]);
    let others = async {
        for _ in 0..20 {
            served.must_still_serve("slow clients that are there").await;
        }
    };
    let (slow_body, slow_head, nothing, ()) = tokio::join!(slow_body, slow_head, nothing, others);

    check("a slow body", &slow_body, 408, "body_too_slow");
    assert!([0, 408].contains(&slow_head.status), "a slow head: {}", slow_head.text);
    assert_eq!(nothing.text, "", "whoever says nothing is told nothing");
    let orders = served.get(JOB_ORDERS, "").await;
    assert!(orders.text.contains(r#""items":[]"#), "half a command is none: {}", orders.text);
    served.must_still_serve("slow clients that have gone").await;
    served.system.stop().await;
}
