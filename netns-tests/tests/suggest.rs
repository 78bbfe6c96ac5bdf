//! From packets to policies and back: what `suggest` makes of what `watch` wrote allows that, needs
//! each of its rules for it, and allows nothing else.
#![expect(clippy::indexing_slicing, reason = "a test may fail by panicking")]

use std::{
    error::Error,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process,
};

use flowmon::lab::{Lab, Namespace, Pod, traffic};
use netns_tests::{Ended, Finished, Said, Watch, flowmon, require_root};
use serde_json::{Value, json};

type TestResult = Result<(), Box<dyn Error>>;

/// A folder that is removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, std::io::Error> {
        let folder = std::env::temp_dir().join(format!("flowmon-suggested-{}", process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    fn file(&self, name: &str, text: &str) -> Result<String, std::io::Error> {
        let path = self.0.join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    }

    fn log(&self, name: &str, ended: &Ended) -> Result<String, std::io::Error> {
        ended.assert_clean();
        let lines = ended.said.records.iter().chain([&ended.said.summary]);
        let lines: Vec<String> = lines.map(Value::to_string).collect();
        self.file(name, &(lines.join("\n") + "\n"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the folder for temporary files is not worth a panic.
        let _left = fs::remove_dir_all(&self.0);
    }
}

/// A pod in the inventory, as `kubectl` would print it.
fn listed(pod: &Pod, namespace: &str, app: &str) -> Value {
    let addresses: Vec<Value> = pod
        .addresses
        .iter()
        .map(|it| json!({"ip": it.ip()}))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "namespace": namespace, "name": pod.name,
            "labels": {"app": app, "pod-template-hash": "5c689d88bb"},
        },
        "spec": {"containers": [{"name": app, "image": app}]},
        "status": {"phase": "Running", "podIPs": addresses},
    })
}

/// The text without one of its rules, for each of them.
fn without_one(yaml: &str) -> Vec<String> {
    let lines: Vec<&str> = yaml.lines().collect();
    let begins = |line: &str| line.starts_with("  - from:") || line.starts_with("  - to:");
    let belongs = |line: &&&str| line.starts_with("    ");
    let rules = lines.iter().enumerate().filter(|(_, line)| begins(line));
    rules
        .map(|(first, _)| {
            let more = lines[first + 1..].iter().take_while(belongs).count();
            [&lines[..first], &lines[first + 1 + more..]]
                .concat()
                .join("\n")
        })
        .collect()
}

fn audit(node: &Namespace, log: &str, policies: &str, inventory: &str) -> (Finished, Value) {
    let args = [
        "audit",
        "--flows",
        log,
        "--policies",
        policies,
        "--inventory",
        inventory,
    ];
    let judged = flowmon(node, &[&args[..], &["--output", "json"]].concat());
    let lines: Vec<String> = judged.stdout.lines().map(str::to_owned).collect();
    let summary = Said::parse(&lines).summary;
    (judged, summary)
}

#[test]
fn what_was_seen_is_allowed_by_what_is_suggested_and_nothing_else() -> TestResult {
    if !require_root("what_was_seen_is_allowed_by_what_is_suggested_and_nothing_else") {
        return Ok(());
    }
    let lab = Lab::new("cni0")?;
    let carts = [
        lab.add_pod("cart-0", &lab.host(2))?,
        lab.add_pod("cart-1", &lab.host(3))?,
    ];
    let redis = lab.add_pod("redis-0", &lab.host(4))?;
    let dns = lab.add_pod("dns-0", &lab.host(5))?;
    let [cart, other_cart] = &carts;
    let at = |pod: &Pod, version: usize, port| SocketAddr::new(pod.addresses[version].ip(), port);
    let anybody = Ipv4Addr::new(192, 0, 2, 1);

    let watch = Watch::start(lab.node(), &["--iface", lab.bridge()]);
    for version in [0, 1] {
        let (from, to) = (&cart.namespace, &redis.namespace);
        traffic::tcp_connections(from, to, at(&redis, version, 6379), 2, 100, 1000)?;
    }
    traffic::dns_lookup(
        &other_cart.namespace,
        &dns.namespace,
        at(&dns, 0, 53),
        "redis",
        anybody,
    )?;
    // From outside, and between two of the same.
    traffic::tcp_transfer(lab.node(), &cart.namespace, at(cart, 0, 8080), 10, 10)?;
    traffic::tcp_transfer(
        &cart.namespace,
        &other_cart.namespace,
        at(other_cart, 0, 7946),
        1,
        1,
    )?;
    traffic::udp_exchange(
        &redis.namespace,
        &redis.namespace,
        at(&redis, 0, 9),
        1,
        1,
        false,
    )?;
    traffic::ping(&cart.namespace, at(&redis, 0, 0).ip(), 1, 1, 0)?;
    let seen = watch.stop();

    let watch = Watch::start(lab.node(), &["--iface", lab.bridge()]);
    traffic::tcp_refused(&cart.namespace, at(&redis, 0, 6380))?;
    traffic::tcp_transfer(&redis.namespace, &cart.namespace, at(cart, 0, 8080), 1, 1)?;
    let unseen = watch.stop();

    let folder = Folder::new()?;
    let items = [
        listed(cart, "shop", "cart"),
        listed(other_cart, "shop", "cart"),
        listed(&redis, "stock", "redis"),
        listed(&dns, "kube-system", "dns"),
    ];
    let inventory = json!({"apiVersion": "v1", "kind": "List", "items": items});
    let inventory = folder.file("inventory.json", &inventory.to_string())?;
    let log = folder.log("seen.jsonl", &seen)?;

    let suggest = ["suggest", "--flows", &log, "--inventory", &inventory];
    let suggested = flowmon(lab.node(), &suggest);
    let yaml = &suggested.stdout;
    assert_eq!(suggested.code, Some(0), "{}", suggested.stderr);
    assert_eq!(yaml.matches("kind: NetworkPolicy").count(), 3, "{yaml}");
    assert!(
        yaml.contains("# shop/cart: recorded at 2 of 2 pods.\n"),
        "{yaml}"
    );
    let gateway: IpAddr = "10.77.0.1".parse()?;
    assert!(yaml.contains(&format!("cidr: \"{gateway}/32\"")), "{yaml}");
    assert!(
        !yaml.contains("hash") && !yaml.contains("INCOMPLETE"),
        "{yaml}"
    );

    let policies = folder.file("policies.yaml", yaml)?;
    let (judged, summary) = audit(lab.node(), &log, &policies, &inventory);
    assert_eq!(
        (judged.code, &summary["violations"]),
        (Some(0), &json!(0)),
        "{summary}\n{yaml}"
    );
    assert!(summary["allowed"].as_u64() >= Some(13), "{summary}");

    let less = without_one(yaml);
    // Of the carts in: outside, itself; out: redis, itself, names. Of redis in: the carts. Of dns: they.
    assert_eq!(less.len(), 7, "{yaml}");
    for less in less {
        let policies = folder.file("less.yaml", &less)?;
        let (judged, summary) = audit(lab.node(), &log, &policies, &inventory);
        assert_eq!(judged.code, Some(1), "{}{summary}\n{less}", judged.stderr);
    }

    let log = folder.log("unseen.jsonl", &unseen)?;
    let (judged, summary) = audit(lab.node(), &log, &policies, &inventory);
    // Both, at both of their ends.
    let found = (judged.code, &summary["violations"], &summary["allowed"]);
    assert_eq!(found, (Some(1), &json!(4), &json!(0)), "{summary}\n{yaml}");
    Ok(())
}
