//! What only one of the two counts has is told, with its sign, and where.

use netns_tests::{Watch, require_root, send_frames};
use serde_json::json;

use crate::{DATAGRAM, Network, TestResult, end, number, part, send};

/// Another's filter that was there first takes frames before ours is asked: only by clsact, where a
/// classifier of another kind keeps its place.
#[test]
fn what_another_takes_first_is_missed() -> TestResult {
    if !require_root("what_another_takes_first_is_missed") {
        return Ok(());
    }
    let network = Network::new()?;
    network.redirect("vetha", "egress", "vethb");
    let watch = network.watch(&["--hook", "clsact"]);
    network.exchange(1000, 3)?;
    send(&network.a, &network.b, 2000, 7)?;
    let said = end(watch);
    assert_eq!(number(&said, "/totals/tx_packets"), 3);
    let difference = json!({"frames": 7, "bytes": 7 * DATAGRAM});
    assert_eq!(part(&said, "/witness/missed"), &difference);
    assert_eq!(number(&said, "/witness/extra/frames"), 0);
    assert_eq!(
        part(&said, "/findings"),
        &json!([{"interface": "vetha", "difference": difference}])
    );
    assert_eq!(part(&said, "/complete"), &json!(false));
    Ok(())
}

/// What another redirects to an interface's ingress was not sent by the container behind it: the
/// kernel does not show such packets to XDP again.
#[test]
fn what_somebody_else_put_there_is_extra() -> TestResult {
    if !require_root("what_somebody_else_put_there_is_extra") {
        return Ok(());
    }
    let network = Network::new()?;
    network.redirect("vethb", "ingress", "vetha");
    let watch = network.watch(&[]);
    network.exchange(1000, 3)?;
    // To the bridge it looks as if a sent them to itself: they go nowhere.
    send(&network.b, &network.a, 2000, 7)?;
    let said = end(watch);
    assert_eq!(number(&said, "/totals/tx_packets"), 10);
    assert_eq!(number(&said, "/witness/frames"), 3);
    let amount = json!({"frames": 7, "bytes": 7 * DATAGRAM});
    assert_eq!(part(&said, "/witness/extra"), &amount);
    assert_eq!(number(&said, "/witness/missed/frames"), 0);
    let difference = json!({"frames": -7, "bytes": -i64::try_from(7 * DATAGRAM)?});
    assert_eq!(
        part(&said, "/findings"),
        &json!([{"interface": "vetha", "difference": difference}])
    );
    // All the same, each is in a flow.
    assert_eq!(part(&said, "/complete"), &json!(true));
    Ok(())
}

/// A tag that is cut is dropped by the kernel itself, after XDP.
#[test]
fn what_the_kernel_drops_is_missed() -> TestResult {
    if !require_root("what_the_kernel_drops_is_missed") {
        return Ok(());
    }
    let network = Network::new()?;
    let watch = network.watch(&[]);
    let cut = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x81, 0, 0];
    send_frames(&network.a.namespace, "eth0", &[cut]);
    let said = end(watch);
    assert_eq!(number(&said, "/witness/missed/frames"), 1);
    assert_eq!(number(&said, "/hygiene/runt"), 1);
    Ok(())
}

/// Traffic that goes on when watching begins and when it ends is on its way, and nothing else.
#[test]
fn traffic_that_goes_on_is_no_difference() -> TestResult {
    if !require_root("traffic_that_goes_on_is_no_difference") {
        return Ok(());
    }
    let network = Network::new()?;
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let to = (network.address_of_b()?, 9);
    let socket = network
        .a
        .namespace
        .run(|| std::net::UdpSocket::bind("0.0.0.0:0"))??;
    let flood = std::thread::spawn(move || {
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            // An answer from the closed port is an error of a later sending.
            let _refused = socket.send_to(b"?", to);
        }
    });
    for _ in 0..5 {
        let mut watch = Watch::start(
            network.node(),
            &["--iface", "cni0", "--xdp", "skb", "--interval", "20ms"],
        );
        watch.wait_for_record(|record| record.pointer("/event") == Some(&json!("update")));
        let said = end(watch);
        assert!(!flood.is_finished());
        assert_eq!(part(&said, "/findings"), &json!([]), "{}", said.summary);
        assert!(number(&said, "/witness/frames") > 0);
    }
    drop(stop);
    flood.join().map_err(|_| "the flood panicked")?;
    Ok(())
}
