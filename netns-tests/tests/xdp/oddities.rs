//! Odd frames are counted by reason.

use std::collections::BTreeMap;

use netns_tests::{Said, require_root, send_frames};
use serde_json::json;

use crate::{Network, TestResult, end, frames, part};

const A: [u8; 4] = [10, 77, 0, 2];
const B: [u8; 4] = [10, 77, 0, 3];

/// One frame of each kind, by the reason that is to be told.
fn odd_ones() -> Vec<(&'static str, Vec<u8>)> {
    let good = frames::udp(A, B, 8);
    let changed = |at: usize, value: u8| {
        let mut frame = good.clone();
        frame[at] = value;
        frame
    };
    vec![
        ("runt", good[..30].to_vec()),
        ("bad_header", changed(14, 0x44)),
        ("bad_length", frames::udp(A, B, 9)),
        ("syn_fin", frames::tcp(A, B, 80, 0x03)),
        ("syn_rst", frames::tcp(A, B, 80, 0x06)),
        ("null_scan", frames::tcp(A, B, 80, 0)),
        ("xmas_scan", frames::tcp(A, B, 80, 0x29)),
        ("land", frames::udp(A, A, 8)),
        ("bad_source", frames::udp([224, 0, 0, 1], B, 8)),
    ]
}

fn hygiene(said: &Said) -> BTreeMap<String, u64> {
    let counts = part(said, "/hygiene").as_object();
    let counts = counts.into_iter().flatten();
    counts
        .map(|(reason, count)| (reason.clone(), count.as_u64().unwrap_or(u64::MAX)))
        .collect()
}

#[test]
fn each_reason_is_told_once_for_each_frame() -> TestResult {
    if !require_root("each_reason_is_told_once_for_each_frame") {
        return Ok(());
    }
    let network = Network::new()?;
    let watch = network.watch(&[]);
    let odd_ones = odd_ones();
    for (times, (_, frame)) in (1..).zip(&odd_ones) {
        send_frames(&network.a.namespace, "eth0", &vec![frame.clone(); times]);
    }
    let honest = [frames::udp(A, B, 8), frames::tcp(A, B, 80, 0x02)];
    send_frames(&network.a.namespace, "eth0", &honest);
    let said = end(watch);
    let expected: BTreeMap<String, u64> = (1..)
        .zip(&odd_ones)
        .map(|(times, (reason, _))| ((*reason).to_owned(), times))
        .collect();
    assert_eq!(hygiene(&said), expected);
    assert_eq!(
        part(&said, "/findings"),
        &json!([{"interface": "vetha", "hygiene": expected}])
    );
    Ok(())
}

/// Many more flows than the map has room for: it turns over all the time.
#[test]
fn a_flooded_flow_map_hides_nothing() -> TestResult {
    const FLOWS: u16 = 5000;
    if !require_root("a_flooded_flow_map_hides_nothing") {
        return Ok(());
    }
    let network = Network::new()?;
    let watch = network.watch(&["--max-flows", "64"]);
    let mut all = Vec::new();
    for port in 1..=FLOWS {
        all.push(frames::tcp(A, B, port, 0x02));
        if port % 100 == 0 {
            all.extend(odd_ones().into_iter().map(|(_, frame)| frame));
        }
    }
    send_frames(&network.a.namespace, "eth0", &all);
    let said = end(watch);
    let times = u64::from(FLOWS) / 100;
    assert!(
        hygiene(&said).values().all(|&count| count == times),
        "{said:?}"
    );
    // Two of the odd ones ask for a connection too, if not only for that.
    let syns = u64::from(FLOWS) + 2 * times;
    assert_eq!(part(&said, "/connections/syns"), &json!(syns));
    assert_eq!(part(&said, "/witness/frames"), &json!(all.len()));
    assert_eq!(part(&said, "/witness/missed/frames"), &json!(0));
    Ok(())
}

#[test]
fn a_source_is_spoofed_where_the_owners_addresses_are_known() -> TestResult {
    if !require_root("a_source_is_spoofed_where_the_owners_addresses_are_known") {
        return Ok(());
    }
    let network = Network::new()?;
    let from = |source| frames::udp(source, B, 8);
    let sent = [
        from(A),
        from([10, 77, 0, 9]),
        from([0; 4]),
        from([10, 77, 0, 99]),
        from([8, 8, 8, 8]),
        ipv6(),
    ];
    let spoofed = |owns: &[&str]| {
        let watch = network.watch(owns);
        send_frames(&network.a.namespace, "eth0", &sent);
        hygiene(&end(watch)).get("spoofed_source").copied()
    };
    // Nothing known, nothing judged; of a version without an address neither.
    assert_eq!(spoofed(&[]), None);
    assert_eq!(spoofed(&["--owns", "vethb=10.77.0.2"]), None);
    let both = ["--owns", "vetha=10.77.0.2,vetha=10.77.0.9"];
    assert_eq!(spoofed(&both), Some(2));
    assert_eq!(spoofed(&["--owns", "vetha=fd77::2"]), Some(1));
    assert_eq!(spoofed(&["--owns", "vetha=fd77::77"]), Some(0));
    Ok(())
}

/// An echo request from `fd77::77`.
fn ipv6() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd];
    frame.extend([0x60, 0, 0, 0, 0, 8, 58, 64]);
    for host in [0x77, 3] {
        frame.extend([0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
    }
    frame.extend([128, 0, 0, 0, 0, 1, 0, 1]);
    frame
}
