//! The decoder of socket frames, text and binary: whatever a client sends is a frame or is refused.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use socket::frame::{Incoming, Payload};

/// Longer fields do not fit the one byte of their length.
const FIELD_BYTES_MAX: usize = 255;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(frame) = Incoming::parse_text(text)
    {
        assert!(matches!(frame.payload, Payload::Json(_)));
    }
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(frame) = Incoming::parse_binary(&bytes) {
        assert!(frame.topic.len() <= FIELD_BYTES_MAX && frame.event.len() <= FIELD_BYTES_MAX);
        let Payload::Binary(payload) = frame.payload else {
            panic!("a binary frame carries bytes");
        };
        assert!(bytes.ends_with(&payload));
    }
});
