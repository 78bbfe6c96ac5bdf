//! The properties that are fuzzed (`fuzz/`), for what the fuzzer found worth keeping.
#![expect(clippy::panic, reason = "a test may fail by panicking")]

#[path = "../../fuzz/properties/event.rs"]
mod event;
#[path = "../../fuzz/properties/packet.rs"]
mod packet;
#[path = "../../fuzz/properties/replay.rs"]
mod replay;
#[path = "../../fuzz/properties/tcp.rs"]
mod tcp;

use replay::replay;

#[test]
fn frames() {
    replay("packet", packet::check);
}

#[test]
fn events() {
    replay("event", event::check);
}

#[test]
fn connections() {
    replay("tcp", tcp::check);
}
