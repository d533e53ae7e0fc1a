//! The parser of topics: a topic reads as it is written.
#![no_main]

use kernel::Topic;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(topic) = text.parse::<Topic>() else { return };
    let written = topic.to_string();
    assert_eq!(written.parse::<Topic>().ok(), Some(topic), "{written}");
});
