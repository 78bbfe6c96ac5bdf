//! `flowmon suggest`: what it makes of flows, by the room's interface and as it is typed.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

mod cases;
mod round_trip;
mod typed;
mod world;
