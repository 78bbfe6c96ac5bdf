//! Both count alike.

use std::net::SocketAddr;

use flowmon::lab::{Lab, traffic};
use netns_tests::{Watch, require_root, send_frames};
use serde_json::json;

use crate::{DATAGRAM, Network, TestResult, end, frames, number, part};

#[test]
fn every_frame_and_byte_that_was_sent() -> TestResult {
    if !require_root("every_frame_and_byte_that_was_sent") {
        return Ok(());
    }
    let network = Network::new()?;
    let watch = network.watch(&[]);
    network.exchange(1000, 50)?;
    let said = end(watch);
    said.assert_complete();
    let nothing = json!({"frames": 0, "bytes": 0});
    assert_eq!(
        part(&said, "/witness"),
        &json!({
            "mode": "skb", "interfaces": 1, "failed": 0,
            "frames": 50, "bytes": 50 * DATAGRAM, "missed": nothing, "extra": nothing,
        })
    );
    assert_eq!(part(&said, "/findings"), &json!([]));
    Ok(())
}

/// Super-packets one way, acknowledgements the other, both IP versions: a buffer is a frame.
#[test]
fn bulk_tcp_is_the_same_number_of_buffers() -> TestResult {
    const BYTES: u64 = 20_000_000;
    if !require_root("bulk_tcp_is_the_same_number_of_buffers") {
        return Ok(());
    }
    let lab = Lab::new("cni0")?;
    let a = lab.add_pod("a", &lab.host(2))?;
    let b = lab.add_pod("b", &lab.host(3))?;
    let watch = Watch::start(
        lab.node(),
        &["--iface", "cni0", "--xdp", "skb", "--interval", "50ms"],
    );
    for address in &b.addresses {
        let to = SocketAddr::new(address.ip(), 80);
        traffic::tcp_transfer(&a.namespace, &b.namespace, to, BYTES, BYTES)?;
    }
    let said = end(watch);
    said.assert_complete();
    for side in ["missed", "extra"] {
        let difference = part(&said, &format!("/witness/{side}"));
        assert_eq!(difference, &json!({"frames": 0, "bytes": 0}), "{side}");
    }
    let (frames, packets) = (
        number(&said, "/witness/frames"),
        number(&said, "/totals/tx_packets"),
    );
    assert!(number(&said, "/witness/bytes") > 4 * BYTES);
    assert!(
        frames < packets / 2,
        "{frames} buffers, {packets} packets: no GSO?"
    );
    Ok(())
}

/// A tag in the data is taken out by the kernel after XDP and before tc, but only one.
#[test]
fn tags_are_no_difference() -> TestResult {
    if !require_root("tags_are_no_difference") {
        return Ok(());
    }
    let network = Network::new()?;
    let watch = network.watch(&[]);
    let plain = frames::udp([10, 77, 0, 2], [10, 77, 0, 3], 8);
    let tagged = |tags: &[u8]| [&plain[..12], tags, &plain[12..]].concat();
    let one = [0x81, 0, 0, 7];
    let two = [0x88, 0xa8, 0, 9, 0x81, 0, 0, 7];
    let all = [plain.clone(), tagged(&one), tagged(&two)];
    send_frames(&network.a.namespace, "eth0", &all);
    let said = end(watch);
    said.assert_complete();
    assert_eq!(number(&said, "/witness/frames"), 3);
    assert_eq!(part(&said, "/findings"), &json!([]));
    let bytes: usize = all.iter().map(Vec::len).sum();
    assert_eq!(number(&said, "/totals/tx_bytes"), bytes as u64);
    assert_eq!(number(&said, "/witness/bytes"), bytes as u64);
    Ok(())
}
