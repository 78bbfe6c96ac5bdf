//! What the user declares: names beyond this host, and labels for who is on it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
};

use flowmon::lab::{Lab, traffic};
use netns_tests::{PrivateMounts, Watch, require_root};
use serde_json::json;

use crate::TestResult;

const INVENTORY: &str = "
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Node, metadata: {name: far-node},
   status: {addresses: [{type: InternalIP, address: 10.99.0.1}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: redis-0, namespace: shop, labels: {app: redis}},
   spec: {nodeName: far-node, containers: [{name: c}]}, status: {phase: Running, podIP: 10.98.0.2, podIPs: [{ip: 10.98.0.2}]}}
- {apiVersion: v1, kind: Service, metadata: {name: redis-0, namespace: shop},
   spec: {clusterIP: 10.97.0.3, clusterIPs: [10.97.0.3], selector: {app: redis}, ports: [{port: 6379}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: blue, namespace: default, labels: {app: declared}},
   spec: {containers: [{name: c}]}, status: {phase: Running}}
";

#[test]
fn names_beyond_this_host_and_labels_on_it() -> TestResult {
    if !require_root("names_beyond_this_host_and_labels_on_it") {
        return Ok(());
    }
    let mounts = PrivateMounts::enter();
    fs::write("/run/inventory.yaml", INVENTORY)?;
    let lab = Lab::new("cni0")?;
    let blue = lab.add_pod("blue", &lab.host(2))?;
    mounts.name("blue", &blue.namespace);
    let args = ["--iface", "cni0", "--inventory", "/run/inventory.yaml"];
    let watch = Watch::start(lab.node(), &args);
    let others = [
        ([10, 99, 0, 1], json!({"kind": "node", "name": "far-node"})),
        (
            [10, 98, 0, 2],
            json!({"kind": "pod", "namespace": "shop", "name": "redis-0", "labels": {"app": "redis"}}),
        ),
        (
            [10, 97, 0, 3],
            json!({"kind": "service", "namespace": "shop", "name": "redis-0"}),
        ),
        // Nobody's, where all of the cluster is known.
        ([10, 96, 0, 4], json!({"kind": "external"})),
    ];
    let near = blue.ipv4().ok_or("no address")?;
    blue.namespace.run(|| {
        let socket = UdpSocket::bind((near, 0))?;
        for (address, _) in &others {
            socket.send_to(b"?", SocketAddr::from((Ipv4Addr::from(*address), 9)))?;
        }
        Ok::<_, std::io::Error>(())
    })??;
    traffic::ping(&blue.namespace, "10.77.0.1".parse()?, 7, 1, 0)?;
    let ended = watch.stop();
    ended.assert_clean();
    for (address, who) in others {
        let address = Ipv4Addr::from(address);
        let mut remote = who;
        if let Some(fields) = remote.as_object_mut() {
            fields.insert("ip".into(), json!(address));
        }
        ended.said.one(&json!({
            "endpoint": {"kind": "netns", "name": "blue", "labels": {"app": "declared"}, "source": "netns"},
            "remote": remote,
        }));
    }
    Ok(())
}
