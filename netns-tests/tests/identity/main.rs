//! Records say who: behind each veth, and at the other end.

mod cni;
mod containerd;
mod docker;
mod inventory;
mod namespaces;
mod podman;
mod sources;

use std::{cell::RefCell, error::Error};

use netns_tests::Watch;
use serde_json::{Value, json};

type TestResult = Result<(), Box<dyn Error>>;

/// Waits until each of these was told, as (local, remote) of a TCP flow, in whichever order. `end`
/// is where a record has who it is.
fn wait_for_flows(watch: &mut Watch, end: &str, flows: &[(&str, &str)]) {
    let missing = RefCell::new(flows.to_vec());
    watch.wait_for_record(|record| {
        let who = |side: &str| record.pointer(&format!("/{side}/{end}"));
        let is = |(local, remote): &(&str, &str)| {
            who("endpoint") == Some(&json!(local)) && who("remote") == Some(&json!(remote))
        };
        let is_tcp = record.pointer("/protocol").and_then(Value::as_str) == Some("tcp");
        let mut missing = missing.borrow_mut();
        missing.retain(|flow| !(is_tcp && is(flow)));
        missing.is_empty()
    });
}
