//! Erlang: plays scenarios on the supervisor of the real thing.

use std::io::{self, Write};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::Json;

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/erlang/play_scenarios.escript");

/// How many Erlang processes play at a time: they wait more than they compute.
const PLAYERS: usize = 4;

/// The traces that scenarios leave, in their order; `None` if there is no Erlang here.
pub fn traces(scenarios: &[String]) -> Option<Vec<Json>> {
    // Those that sleep take seconds each, so they are dealt out before all others.
    let mut order: Vec<usize> = (0..scenarios.len()).collect();
    order.sort_by_key(|place| !scenarios[*place].contains(r#""op":"sleep""#));
    let hands: Vec<Vec<usize>> = (0..PLAYERS)
        .map(|player| order.iter().copied().skip(player).step_by(PLAYERS).collect())
        .filter(|hand: &Vec<usize>| !hand.is_empty())
        .collect();
    let played: Vec<io::Result<Vec<Json>>> = std::thread::scope(|scope| {
        let play = |hand: &Vec<usize>| {
            let lines: Vec<&str> = hand.iter().map(|place| scenarios[*place].as_str()).collect();
            scope.spawn(move || play(&lines))
        };
        let players: Vec<_> = hands.iter().map(play).collect();
        players.into_iter().map(|player| player.join().unwrap()).collect()
    });
    let mut traces = vec![Json::Null; scenarios.len()];
    for (hand, played) in hands.into_iter().zip(played) {
        match played {
            Ok(played) => {
                assert_eq!(played.len(), hand.len(), "Erlang lost scenarios");
                for (place, trace) in hand.into_iter().zip(played) {
                    traces[place] = trace;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => panic!("Erlang does not run: {error}"),
        }
    }
    Some(traces)
}

fn play(lines: &[&str]) -> io::Result<Vec<Json>> {
    static FILES: AtomicU64 = AtomicU64::new(0);
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let name =
        format!("{}/scenarios-{}-{number}.jsonl", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let mut file = std::fs::File::create(&name).unwrap();
    for line in lines {
        writeln!(file, "{line}").unwrap();
    }
    drop(file);
    let output = Command::new("escript").arg(PROGRAM).arg(&name).output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "Erlang: {complaint}\nthe scenarios are in {name}");
    std::fs::remove_file(&name).unwrap();
    let trace = |line: &str| {
        let played: Json = serde_json::from_str(line).unwrap();
        played.get("trace").unwrap().clone()
    };
    Ok(String::from_utf8(output.stdout).unwrap().lines().map(trace).collect())
}
