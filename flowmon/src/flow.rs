//! The flows that are known right now: sans-IO, time and counts are arguments, reports are results.

mod evicted;
mod expiry;
mod table;

pub use table::FlowTable;
