//! `flowmon run`: what is scraped from it, and what it writes down, are what crossed the wire.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    io::Write as _,
    net::{SocketAddr, UdpSocket},
    path::PathBuf,
};

use flowmon::lab::{Pod, traffic};
use flowmon_common::Totals;
use netns_tests::{CLOSED, Samples, Site, interface_counters, require_root, tool};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

type TestResult = Result<(), Box<dyn Error>>;

fn ping(pod: &Pod, to: &Pod, id: u16, count: u16) -> TestResult {
    let to = to.ipv4().ok_or("no address")?.into();
    assert_eq!(traffic::ping(&pod.namespace, to, id, count, 100)?, count);
    Ok(())
}

#[test]
fn what_is_scraped_and_logged_is_what_crossed_the_wire() -> TestResult {
    if !require_root("what_is_scraped_and_logged_is_what_crossed_the_wire") {
        return Ok(());
    }
    let site = Site::new("exact");
    let (mut daemon, address) = site.start(&[]);
    let a = site.add(&mut daemon, "a", 2)?;
    let b = site.add(&mut daemon, "b", 3)?;
    ping(&a, &b, 7, 40)?;
    let to = SocketAddr::from((b.ipv4().ok_or("no address")?, 8080));
    // No buffer stands for several packets, so the interface's counters count packets.
    traffic::tcp_transfer(&a.namespace, &b.namespace, to, 1200, 900)?;
    let truth = interface_counters(site.lab.node(), &a);
    let label = "endpoint=\"vetha\"";
    let samples = site.wait_for(address, |samples| samples.totals("flow", label) == truth);
    assert_eq!(samples.totals("interface", "interface=\"vetha\""), truth);
    assert_eq!(samples.totals("unattributed", ""), Totals::default());
    assert_eq!(
        samples.sum("flowmon_flows_total", &["protocol=\"icmp\"", label]),
        1
    );
    assert!(samples.sum("flowmon_tcp_handshake_seconds_count", &[label]) > 0);
    assert_eq!(samples.sum("flowmon_lost_total", &[]), 0);
    assert_eq!(samples.sum("flowmon_build_info", &[]), 1);

    let ended = daemon.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let logged = site.logged();
    let both = interface_counters(site.lab.node(), &b);
    let mut all = truth;
    all += both;
    assert_eq!(logged.sum("totals"), all);
    logged.assert_complete();
    // Its last word is of all causes.
    let lost = logged.summary.pointer("/lost").and_then(Value::as_object);
    for (cause, count) in lost.ok_or("no causes")? {
        let told = format!(" lost_{cause}={count} ");
        assert!(ended.stderr.contains(&told), "{told}: {}", ended.stderr);
    }
    Ok(())
}

#[test]
fn policies_are_read_again_on_sighup_and_a_killed_daemons_log_stays_whole() -> TestResult {
    if !require_root("policies_are_read_again_on_sighup_and_a_killed_daemons_log_stays_whole") {
        return Ok(());
    }
    let site = Site::new("hangup");
    let shop = site.shop(&CLOSED.replace("web", "none"));
    let more = shop.each_ref().map(String::as_str);
    let (mut daemon, address) = site.start(&more);
    let client = site.add(&mut daemon, "c", 2)?;
    let web = site.add(&mut daemon, "w", 3)?;
    let port = |port| SocketAddr::from(([10, 78, 0, 3], port));
    traffic::tcp_transfer(&client.namespace, &web.namespace, port(8080), 1200, 900)?;
    let violations = "flowmon_policy_violations_total";
    let begun =
        |samples: &Samples| samples.sum("flowmon_flows_total", &["verdict=\"allowed\""]) > 0;
    let samples = site.wait_for(address, begun);
    assert_eq!(samples.sum(violations, &[]), 0, "{samples:#?}");

    fs::write(site.path("policies/p.yaml"), CLOSED)?;
    daemon.signal(Signal::SIGHUP);
    site.wait_for(address, |samples| samples.sum(violations, &[]) > 0);
    traffic::tcp_transfer(&client.namespace, &web.namespace, port(8081), 1200, 900)?;
    let labels = [
        "policy=\"shop/closed\"",
        "port=\"8081\"",
        "reason=\"no-rule-matched\"",
    ];
    site.wait_for(address, |samples| samples.sum(violations, &labels) == 1);

    // A second one is refused while the first one lives.
    let second = netns_tests::flowmon(
        site.lab.node(),
        &["run", "--iface", "cni0", "--listen", "10.78.0.1:0"],
    );
    assert_eq!(second.code, Some(4), "{}", second.stderr);
    daemon.signal(Signal::SIGKILL);
    assert_eq!(daemon.ended().code, None);
    let (daemon, address) = site.start(&more);
    let interface = |samples: &Samples| samples.totals("interface", "interface=\"vethw\"");
    let truth = interface_counters(site.lab.node(), &web);
    site.wait_for(address, |samples| interface(samples) == truth);
    let ended = daemon.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    site.logged().assert_reconciles();
    Ok(())
}

#[test]
fn a_peer_is_called_alike_in_metrics_records_and_findings() -> TestResult {
    if !require_root("a_peer_is_called_alike_in_metrics_records_and_findings") {
        return Ok(());
    }
    let site = Site::new("alike");
    let shop = site.shop(CLOSED);
    let (mut daemon, address) = site.start(&shop.each_ref().map(String::as_str));
    let client = site.add(&mut daemon, "c", 2)?;
    let web = site.add(&mut daemon, "w", 3)?;
    let to = SocketAddr::from(([10, 78, 0, 3], 8080));
    traffic::tcp_transfer(&client.namespace, &web.namespace, to, 1200, 900)?;
    let labels = [
        "namespace=\"shop\"",
        "endpoint=\"web\"",
        "peer_namespace=\"shop\"",
        "peer=\"client\"",
    ];
    site.wait_for(address, |samples| {
        samples.sum("flowmon_policy_violations_total", &labels) == 1
    });
    assert_eq!(daemon.stop().code, Some(0));
    let logged = site.logged();
    let [web, client] = ["web", "client"].map(|name| json!({"namespace": "shop", "name": name}));
    logged.one(&json!({
        "endpoint": web,
        "remote": client,
        "protocol": "tcp",
        "verdict": {"outcome": "denied"},
    }));
    logged.one(&json!({"endpoint": client, "remote": web, "protocol": "tcp"}));
    for (end, who) in [("endpoint", &web), ("peer", &client)] {
        for field in ["namespace", "name"] {
            let place = format!("/violation_groups/0/{end}/{field}");
            let found = logged.summary.pointer(&place);
            assert_eq!(found, who.get(field), "{place}: {}", logged.summary);
        }
    }
    Ok(())
}

#[test]
fn a_violation_that_another_daemon_counted_is_not_counted_again() -> TestResult {
    /// Ethernet, IPv4 and UDP headers, and a payload.
    const PACKET: u64 = 14 + 20 + 8 + 58;
    if !require_root("a_violation_that_another_daemon_counted_is_not_counted_again") {
        return Ok(());
    }
    let site = Site::new("inherited");
    let shop = site.shop(CLOSED);
    let more = shop.each_ref().map(String::as_str);
    let (mut daemon, address) = site.start(&more);
    let client = site.add(&mut daemon, "c", 2)?;
    let web = site.add(&mut daemon, "w", 3)?;
    let bind = |pod: &Pod, port| {
        pod.namespace
            .run(move || UdpSocket::bind(("0.0.0.0", port)))
    };
    let (_one, _two) = (bind(&web, 9000)??, bind(&web, 9001)??);
    let sender = bind(&client, 9000)??;
    let send = |port: u16, packets: u64| -> TestResult {
        for _ in 0..packets {
            sender.send_to(&[0; 58], (web.ipv4().ok_or("no address")?, port))?;
        }
        Ok(())
    };
    let counted = |address, flows: u64, bytes: u64| {
        let sum = |samples: &Samples, what: &str| {
            samples.sum(&format!("flowmon_policy_{what}_total"), &[])
        };
        site.wait_for(address, |samples| {
            sum(samples, "violations") == flows && sum(samples, "violation_bytes") == bytes
        })
    };
    send(9000, 3)?;
    counted(address, 1, 3 * PACKET);
    daemon.signal(Signal::SIGKILL);
    assert_eq!(daemon.ended().code, None);

    let (daemon, address) = site.start(&more);
    let truth = interface_counters(site.lab.node(), &web);
    let totals = |samples: &Samples| samples.totals("interface", "interface=\"vethw\"");
    site.wait_for(address, |samples| totals(samples) == truth);
    send(9000, 2)?;
    counted(address, 0, 2 * PACKET);
    send(9001, 1)?;
    counted(address, 1, 3 * PACKET);
    assert_eq!(daemon.stop().code, Some(0));
    Ok(())
}

/// The log's folder becomes a disk without room, until what is returned goes.
fn full_disk(site: &Site) -> Result<Filler, Box<dyn Error>> {
    let folder = site.folder.display().to_string();
    let mount = ["-t", "tmpfs", "-o", "size=4m", "tmpfs", &folder];
    tool(site.lab.node(), "mount", &mount);
    let path = site.folder.join("filler");
    let mut file = fs::File::create(&path)?;
    while file.write_all(&[0; 4096]).is_ok() {}
    Ok(Filler { _file: file, path })
}

struct Filler {
    _file: fs::File,
    path: PathBuf,
}

impl Drop for Filler {
    /// Space comes back when nobody has the file open, which is right after this.
    fn drop(&mut self) {
        let _removed = fs::remove_file(&self.path);
    }
}

/// Pings, each a flow of its own, until the log has lost some: the page that it had begun may still take
/// a few. Returns how many it took.
fn ping_until_lost(
    site: &Site,
    address: SocketAddr,
    a: &Pod,
    b: &Pod,
) -> Result<u16, Box<dyn Error>> {
    for id in 1..500 {
        ping(a, b, id, 1)?;
        if lost(&site.scrape(address)) > 0 {
            return Ok(id);
        }
    }
    Err("nothing was lost".into())
}

fn lost(samples: &Samples) -> u64 {
    samples.sum("flowmon_lost_total", &["what=\"sink_queue\""])
}

#[test]
fn a_full_disk_costs_records_that_are_counted_and_no_more() -> TestResult {
    if !require_root("a_full_disk_costs_records_that_are_counted_and_no_more") {
        return Ok(());
    }
    let site = Site::new("full");
    let filler = full_disk(&site)?;
    let (mut daemon, address) = site.start(&[]);
    let a = site.add(&mut daemon, "a", 2)?;
    let b = site.add(&mut daemon, "b", 3)?;
    ping_until_lost(&site, address, &a, &b)?;
    daemon.wait_for_stderr("cannot write the flow log");
    drop(filler);
    ping(&a, &b, 1000, 5)?;
    let again = daemon.wait_for_stderr("the flow log is written again; ");
    let counted = again.split(' ').find_map(|word| word.parse().ok());
    let counted: u64 = counted.ok_or("no number")?;
    site.wait_for(address, |samples| lost(samples) == counted);
    let ended = daemon.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let logged = site.logged();
    assert_eq!(logged.sum("totals"), logged.sum("attributed"));
    let said = logged.summary.pointer("/lost/sink_queue").cloned();
    assert_eq!(said, Some(counted.into()), "{}", logged.summary);
    assert_eq!(logged.summary.pointer("/complete"), Some(&false.into()));
    Ok(())
}

#[test]
fn what_a_daemon_saw_is_told_although_its_log_takes_no_summary() -> TestResult {
    if !require_root("what_a_daemon_saw_is_told_although_its_log_takes_no_summary") {
        return Ok(());
    }
    let site = Site::new("unsaid");
    let _filler = full_disk(&site)?;
    let (mut daemon, address) = site.start(&[]);
    let a = site.add(&mut daemon, "a", 2)?;
    let b = site.add(&mut daemon, "b", 3)?;
    let flows = 2 * u64::from(ping_until_lost(&site, address, &a, &b)?);
    let counted = lost(&site.scrape(address));
    ping(&a, &b, 1000, 5)?;
    let mut truth = interface_counters(site.lab.node(), &a);
    truth += interface_counters(site.lab.node(), &b);
    let ended = daemon.stop();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let logged = fs::read_to_string(site.path("flows.log"))?;
    assert!(!logged.contains("summary"), "there was room for it");
    let line = ended.stderr.lines().find(|line| line.contains("stopped"));
    let told: BTreeMap<&str, u64> = line
        .ok_or_else(|| format!("nothing is told: {}", ended.stderr))?
        .split(' ')
        .filter_map(|word| word.split_once('='))
        .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
        .collect();
    let expected = [
        ("interfaces", 2),
        ("packets", truth.tx.packets + truth.rx.packets),
        ("bytes", truth.tx.bytes + truth.rx.bytes),
        ("unattributed_packets", 0),
        ("unattributed_bytes", 0),
        ("lost_names", 0),
    ];
    for (name, value) in expected {
        assert_eq!(told.get(name), Some(&value), "{name}: {line:?}");
    }
    // ARP is a flow, too.
    assert!(told.get("flows") >= Some(&flows), "{line:?}");
    // Those of the last ping are among the lost.
    assert!(told.get("lost_sink_queue") > Some(&counted), "{line:?}");
    assert!(
        line.is_some_and(|line| line.ends_with("complete=false")),
        "{line:?}"
    );
    Ok(())
}
