//! What flowmon costs, in one table: each figure beside what it is to be measured against, taken in
//! turns within the same run, so that a machine that slows down slows both; what counts is the ratio.
#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench is a program for people"
)]

mod churn;
mod frames;
mod links;
mod readings;
mod row;

use std::fmt::Debug;

use row::Row;

fn may<T>(result: Result<T, impl Debug>) -> T {
    result.unwrap_or_else(|error| panic!("{error:?}"))
}

fn main() {
    Row::heading();
    let parts: [fn(); 9] = [
        frames::hot,
        frames::random,
        frames::new,
        links::small_packets,
        links::bulk,
        churn::bursts,
        readings::drains,
        readings::memory,
        readings::attaching,
    ];
    for part in parts {
        part();
    }
}
