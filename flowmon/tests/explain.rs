//! `flowmon explain`, as it is called, on the example policies.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{fs, path::Path, process::Command};

const CART: &str = "shop/cart-0";
const REDIS: &str = "shop/redis-0";
/// Cart's node.
const NODE: &str = "192.168.7.1";

fn policies(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies");
    root.join(name).to_str().unwrap().to_owned()
}

/// Exit code, stdout and stderr.
fn explain(policies_at: &str, ends: [&str; 3], more: &[&str]) -> (i32, String, String) {
    let [from, to, port] = ends;
    let output = Command::new(env!("CARGO_BIN_EXE_flowmon"))
        .args(["explain", "--policies", policies_at])
        .args(["--inventory", &policies("shop-inventory.yaml")])
        .args(["--from", from, "--to", to, "--port", port])
        .args(more)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn shop(from: &str, to: &str, port: &str, more: &[&str]) -> (i32, String, String) {
    explain(&policies("shop"), [from, to, port], more)
}

#[test]
fn the_exit_code_is_the_verdict() {
    let (code, said, _) = shop(CART, REDIS, "6379", &[]);
    assert_eq!(code, 0);
    assert!(said.starts_with("allowed: "), "{said}");
    let (code, said, _) = shop(CART, REDIS, "6380/tcp", &[]);
    assert_eq!(code, 1);
    assert!(
        said.contains("TCP 6379 only, the flow is TCP 6380"),
        "{said}"
    );
    let (code, said, _) = shop(CART, REDIS, "icmp", &[]);
    assert_eq!(code, 3);
    assert!(said.contains("undefined-protocol"), "{said}");
    for (to, port) in [("shop/nobody", "443"), (REDIS, "443/quic"), (REDIS, "0")] {
        let (code, said, complaint) = shop(CART, to, port, &[]);
        assert_eq!((code, &*said), (2, ""), "{to} {port}");
        assert!(!complaint.is_empty());
    }
}

#[test]
fn what_kubernetes_leaves_open_can_be_set() {
    assert_eq!(shop(CART, NODE, "443", &[]).0, 0);
    for (setting, code) in [("allowed", 0), ("judged", 1), ("undecided", 3)] {
        let (found, said, _) = shop(CART, NODE, "443", &["--own-node", setting]);
        assert_eq!(found, code, "{setting}: {said}");
    }
    let name = format!("flowmon-explain-{}.yaml", std::process::id());
    let file = std::env::temp_dir().join(name);
    let policy = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: by-address, namespace: shop}
spec:
  podSelector: {matchLabels: {app: cart}}
  policyTypes: [Egress]
  egress: [{to: [{ipBlock: {cidr: 10.1.0.0/16}}]}]
";
    fs::write(&file, policy).unwrap();
    let path = file.to_str().unwrap();
    let ends = [CART, REDIS, "6379"];
    let codes = [
        &[][..],
        &["--ip-block-pods", "true"],
        &["--ip-block-pods", "false"],
    ]
    .map(|more| explain(path, ends, more).0);
    fs::remove_file(&file).unwrap();
    assert_eq!(codes, [0, 0, 1]);
}
