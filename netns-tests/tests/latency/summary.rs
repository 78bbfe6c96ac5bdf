//! The summary's histograms hold every round trip that the records do.

use flowmon::lab::traffic::{dns_lookup, ping};
use netns_tests::{Said, require_root};
use serde_json::{Value, json};

use crate::{Connection, Pair, TestResult, end, number, port_of};

#[test]
fn every_round_trip_is_in_the_summary_by_endpoint_and_side() -> TestResult {
    if !require_root("every_round_trip_is_in_the_summary_by_endpoint_and_side") {
        return Ok(());
    }
    let pair = Pair::close()?;
    let mut watch = pair.watch();
    let server = port_of(&pair.far, 53)?;
    ping(&pair.near.namespace, server.ip(), 1, 20, 0)?;
    let answer = [10, 77, 0, 9].into();
    let (near, far) = (&pair.near.namespace, &pair.far.namespace);
    dns_lookup(near, far, server, "api.lab", answer)?;
    let mut connection = Connection::open(&pair.near, &pair.far)?;
    connection.talk(100)?;
    connection.close()?;
    // Its row in the histograms is the next one's.
    let (going, ifindex) = (pair.near, pair.far.ifindex);
    let (left, name) = (going.ifindex, going.interface.clone());
    pair.lab.remove_pod(going)?;
    watch.wait_for_stderr(&format!("detached interface=\"{name}\""));
    let next = pair.lab.add_pod("next", &pair.lab.host(9))?;
    watch.wait_for_stderr("attached interface");
    let gateway = [10, 77, 0, 1].into();
    assert_eq!(ping(&next.namespace, gateway, 2, 3, 0)?, 3);

    let said = end(watch);
    let mut all = [0, 0];
    for ifindex in [left, ifindex, next.ifindex] {
        for (side, all) in ["network", "container"].into_iter().zip(&mut all) {
            let samples = assert_is_of_the_records(&said, ifindex, side)?;
            *all += samples;
        }
    }
    assert!(all.iter().all(|samples| *samples > 100), "{all:?}");
    for (side, samples) in ["network", "container"].into_iter().zip(all) {
        let together = latency(&said, None, side).ok_or("no sum")?;
        assert_eq!(together.get("samples"), Some(&json!(samples)));
    }
    let next = latency(&said, Some(next.ifindex), "network").ok_or("no latency")?;
    assert_eq!(next.get("samples"), Some(&json!(3)), "only its own pings");
    Ok(())
}

/// Compares an endpoint's row with its flows, and says how many samples it has.
fn assert_is_of_the_records(
    said: &Said,
    ifindex: u32,
    side: &str,
) -> Result<u64, Box<dyn std::error::Error>> {
    let flows = said.matching(&json!({"endpoint": {"ifindex": ifindex}}));
    let at = |what: &str| format!("/rtt/{side}/{what}");
    let (mut samples, mut least, mut most): (u64, _, f64) = (0, f64::MAX, 0.0);
    for flow in flows {
        if let Some(timed) = flow.pointer(&at("samples")).and_then(Value::as_u64) {
            samples += timed;
            least = number(flow, &at("min_us"))?.min(least);
            most = number(flow, &at("max_us"))?.max(most);
        }
    }
    let Some(row) = latency(said, Some(ifindex), side) else {
        assert_eq!(samples, 0, "{ifindex} {side}");
        return Ok(0);
    };
    assert_eq!(row.get("samples"), Some(&json!(samples)), "{row}");
    for limit in ["/p50_us", "/p90_us", "/p99_us"] {
        let limit = number(row, limit)?;
        assert!(
            limit > least && limit <= most * 2.0,
            "{row}: {least} to {most}"
        );
    }
    Ok(samples)
}

/// A row of the summary: of an interface, or of all.
fn latency<'a>(said: &'a Said, ifindex: Option<u32>, side: &str) -> Option<&'a Value> {
    let rows = said.summary.pointer("/latency")?.as_array()?;
    let is_it = |row: &&Value| {
        row.get("ifindex") == ifindex.map(|ifindex| json!(ifindex)).as_ref()
            && row.get("side") == Some(&json!(side))
    };
    rows.iter().find(is_it)
}
