//! What a bridge gives to all ports, as it does not know where it belongs.

use std::net::UdpSocket;

use netns_tests::{Watch, require_root, tool};
use serde_json::json;

use crate::{Folder, Net, TestResult, address, declared, ingress, is, list};

const PORT: u16 = 7000;

/// What is sent to another address than the pod's is nothing that the pod got against its policies.
#[test]
fn what_was_for_somebody_else_is_no_violation() -> TestResult {
    if !require_root("what_was_for_somebody_else_is_no_violation") {
        return Ok(());
    }
    let net = Net::new()?;
    let (blue, green) = (net.pod("blue", 2)?, net.pod("green", 3)?);
    let folder = Folder::new("flooded")?;
    let pods =
        [&blue, &green].map(|pod| declared("default", &pod.name, &pod.name, Some(address(pod))));
    let inventory = folder.put("pods.json", &list(&pods))?;
    let policy = folder.put("green.json", &ingress("green", &[]))?;
    // Somebody who was there, and of whom the bridge knows nothing any more.
    let gone = "10.77.0.99";
    let neighbour = [
        "neigh",
        "add",
        gone,
        "lladdr",
        "02:00:00:00:00:99",
        "dev",
        "eth0",
    ];
    tool(&blue.namespace, "ip", &neighbour);
    let args = [
        "--iface",
        "cni0",
        "--policies",
        &policy,
        "--inventory",
        &inventory,
    ];
    let mut watch = Watch::start(net.lab.node(), &args);
    let socket = blue.namespace.run(|| UdpSocket::bind("0.0.0.0:0"))??;
    socket.send_to(&[0; 100], (gone, PORT))?;
    let astray = watch.wait_for_record(|record| record["endpoint"]["name"] == json!("green"));
    assert!(
        is(PORT, "undecided", "other-destination")(&astray),
        "{astray}"
    );
    // What is for the pod is judged as ever.
    socket.send_to(&[0; 100], (address(&green), PORT))?;
    watch.wait_for_record(is(PORT, "denied", "no-rule-matched"));
    let ended = watch.stop();
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert_eq!(ended.said.summary["violations"], json!(1));
    Ok(())
}
