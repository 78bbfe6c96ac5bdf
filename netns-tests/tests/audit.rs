//! From packets to verdicts: what `watch` wrote of known traffic is judged by the example policies.
#![expect(clippy::indexing_slicing, reason = "a test may fail by panicking")]

use std::{
    error::Error,
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process,
};

use flowmon::lab::{Lab, Pod, traffic};
use netns_tests::{Finished, Said, Watch, counted, flowmon, require_root, tool};
use serde_json::{Value, json};

type TestResult = Result<(), Box<dyn Error>>;

/// A folder that is removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, std::io::Error> {
        let folder = std::env::temp_dir().join(format!("flowmon-audited-{}", process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    fn file(&self, name: &str, text: &str) -> Result<String, std::io::Error> {
        let path = self.0.join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the folder for temporary files is not worth a panic.
        let _left = fs::remove_dir_all(&self.0);
    }
}

fn address(pod: &Pod) -> IpAddr {
    pod.addresses[0].ip()
}

/// The shop's pods, as `kubectl` would print them.
fn inventory(pods: &[(&Pod, &str)]) -> Value {
    let items = pods.iter().map(|(pod, app)| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "shop", "name": pod.name, "labels": {"app": app}},
            "spec": {"containers": [
                {"name": app, "image": app, "ports": [{"name": app, "containerPort": 6379}]}
            ]},
            "status": {"phase": "Running", "podIP": address(pod), "podIPs": [{"ip": address(pod)}]},
        })
    });
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    json!({
        "apiVersion": "v1", "kind": "List",
        "items": items.chain([namespace]).collect::<Vec<_>>(),
    })
}

/// Packets and bytes of all flows from one pod to another's port, as seen at the first.
fn exchanged(said: &Said, from: &Pod, to: &Pod, port: u16) -> (u64, u64) {
    let pattern = json!({
        "endpoint": {"interface": from.interface}, "direction": "egress",
        "remote": {"ip": address(to), "port": port},
    });
    let flows = said.matching(&pattern);
    let sum = flows.iter().map(|flow| counted(flow));
    sum.fold((0, 0), |(packets, bytes), totals| {
        (
            packets + totals.tx.packets + totals.rx.packets,
            bytes + totals.tx.bytes + totals.rx.bytes,
        )
    })
}

#[test]
fn what_watch_records_audit_judges() -> TestResult {
    if !require_root("what_watch_records_audit_judges") {
        return Ok(());
    }
    let lab = Lab::with_gateways("cni0", &["10.77.0.1/24".parse()?])?;
    let cart = lab.add_pod("cart", &lab.host(2))?;
    let redis = lab.add_pod("redis", &lab.host(3))?;
    let web = lab.add_pod("web", &lab.host(4))?;
    let watch = Watch::start(lab.node(), &["--iface", lab.bridge()]);
    let store = |port| SocketAddr::new(address(&redis), port);
    traffic::tcp_connections(
        &cart.namespace,
        &redis.namespace,
        store(6379),
        3,
        1000,
        20_000,
    )?;
    traffic::tcp_refused(&cart.namespace, store(6380))?;
    traffic::tcp_connections(&web.namespace, &redis.namespace, store(6379), 2, 10, 10)?;
    traffic::ping(&web.namespace, address(&redis), 1, 1, 0)?;
    let ended = watch.stop();
    ended.assert_clean();

    let folder = Folder::new()?;
    let mut log = String::new();
    for line in ended.said.records.iter().chain([&ended.said.summary]) {
        log.push_str(&line.to_string());
        log.push('\n');
    }
    let log = folder.file("flows.jsonl", &log)?;
    let pods = inventory(&[(&cart, "cart"), (&redis, "redis"), (&web, "web")]);
    let pods = folder.file("inventory.json", &pods.to_string())?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let policies = root.join("policies/shop").display().to_string();
    let audit = |output: &str| -> Finished {
        let inputs = [
            "--flows",
            &log,
            "--policies",
            &policies,
            "--inventory",
            &pods,
        ];
        flowmon(
            lab.node(),
            &[&["audit"], &inputs[..], &["--output", output]].concat(),
        )
    };
    let judged = audit("json");
    assert_eq!((judged.code, judged.stderr.as_str()), (Some(1), ""));
    let lines: Vec<String> = judged.stdout.lines().map(str::to_owned).collect();
    let again = Said::parse(&lines);
    assert_eq!(again.records.len(), ended.said.records.len());
    for (field, expected) in [
        ("complete", json!(true)),
        ("flows", json!(ended.said.flows().len())),
        // Three of the cart's to redis, at both ends.
        ("allowed", json!(6)),
        // The cart's to another port and the web's two, at both ends.
        ("violations", json!(6)),
        // The ping, at both ends.
        ("undecided_reasons", json!({"undefined-protocol": 2})),
    ] {
        assert_eq!(again.summary[field], expected, "{field}: {}", again.summary);
    }
    for (from, port, flows) in [(&cart, 6380, 1), (&web, 6379, 2)] {
        let groups = again.summary["violation_groups"].as_array();
        let group = groups.into_iter().flatten().find(|group| {
            group["endpoint"]["name"] == json!(from.name) && group["port"] == json!(port)
        });
        let group = group.ok_or("no such violation")?;
        assert_eq!(group["flows"], json!(flows), "{group}");
        let sum = (group["packets"].as_u64(), group["bytes"].as_u64());
        let (packets, bytes) = exchanged(&ended.said, from, &redis, port);
        assert!(packets > 0);
        assert_eq!(sum, (Some(packets), Some(bytes)), "{group}");
    }

    let junit = audit("junit");
    assert_eq!(junit.code, Some(1));
    let report = folder.file("junit.xml", &junit.stdout)?;
    let schema = root
        .join("flowmon/tests/schemas/junit-10.xsd")
        .display()
        .to_string();
    tool(
        lab.node(),
        "xmllint",
        &["--noout", "--schema", &schema, &report],
    );
    Ok(())
}
