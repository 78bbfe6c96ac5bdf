//! `flowmon audit` as it is typed, on the example policies and on logs made for the purpose.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

mod faults;
mod formats;
mod run;
#[path = "../support/sarif.rs"]
mod sarif;
mod verdicts;
