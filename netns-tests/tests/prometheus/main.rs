//! A real Prometheus scrapes a daemon: what it answers is what crossed the wire.

mod server;

use std::{
    error::Error,
    fs,
    io::Write as _,
    net::{IpAddr, SocketAddr, UdpSocket},
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use flowmon::lab::{Pod, traffic};
use flowmon_common::Totals;
use netns_tests::{Site, http_get, interface_counters, require_programs, tool};
use serde_json::Value;

use server::Prometheus;

type TestResult = Result<(), Box<dyn Error>>;

/// Clients may speak to web's 8080 only; of who is in no inventory and has no pod's address nothing
/// is known.
const POLICY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: client}}}]
    ports: [{port: 8080}]
";

fn address(pod: &Pod) -> Result<IpAddr, Box<dyn Error>> {
    Ok(pod.ipv4().ok_or("no address")?.into())
}

/// The way of `totals` that is called so, in bytes and in packets.
fn parts(totals: Totals) -> [(&'static str, &'static str, u64); 4] {
    [
        ("bytes", "tx", totals.tx.bytes),
        ("bytes", "rx", totals.rx.bytes),
        ("packets", "tx", totals.tx.packets),
        ("packets", "rx", totals.rx.packets),
    ]
}

#[test]
fn prometheus_answers_with_what_crossed_the_wire() -> TestResult {
    if !require_programs(
        "prometheus_answers_with_what_crossed_the_wire",
        &["prometheus", "promtool"],
    ) {
        return Ok(());
    }
    let site = Site::new("prometheus");
    let shop = site.shop(POLICY);
    let (mut daemon, metrics) = site.start(&shop.each_ref().map(String::as_str));
    let client = site.add(&mut daemon, "c", 2)?;
    let web = site.add(&mut daemon, "w", 3)?;
    let stranger = site.add(&mut daemon, "s", 4)?;
    let server = Prometheus::start(&site, metrics)?;
    let port = |port| -> Result<SocketAddr, Box<dyn Error>> { Ok((address(&web)?, port).into()) };
    for port in [port(8080)?, port(8081)?, port(8082)?] {
        traffic::tcp_transfer(&client.namespace, &web.namespace, port, 1200, 900)?;
    }
    traffic::tcp_transfer(&stranger.namespace, &web.namespace, port(8080)?, 1200, 900)?;
    traffic::tcp_refused(&client.namespace, port(8083)?)?;

    for (pod, name) in [(&client, "client"), (&web, "web"), (&stranger, "veths")] {
        for (unit, way, truth) in parts(interface_counters(site.lab.node(), pod)) {
            let interface = &pod.interface;
            for query in [
                format!("sum(flowmon_flow_{unit}_total{{endpoint='{name}',way='{way}'}})"),
                format!("flowmon_interface_{unit}_total{{interface='{interface}',way='{way}'}}"),
            ] {
                server.wait_for(&query, truth as f64)?;
            }
        }
    }
    // Three of client's connections are denied; of who is in no inventory nothing can be said.
    let of_web = "namespace='shop',endpoint='web',policy='shop/web',reason='no-rule-matched'";
    for (query, expected) in [
        (
            format!(
                "sum(flowmon_policy_violations_total{{{of_web},peer_namespace='shop',peer='client'}})"
            ),
            3.0,
        ),
        (
            format!("flowmon_policy_violations_total{{{of_web},port='8081'}}"),
            1.0,
        ),
        (
            "sum(flowmon_policy_undecided_total{endpoint='web'})".to_owned(),
            1.0,
        ),
        (
            "sum(flowmon_flows_total{verdict='allowed',endpoint='web'})".to_owned(),
            1.0,
        ),
        ("sum(flowmon_unattributed_packets_total)".to_owned(), 0.0),
        ("sum(flowmon_lost_total)".to_owned(), 0.0),
        ("up".to_owned(), 1.0),
    ] {
        server.wait_for(&query, expected)?;
    }
    // Counted when the flow is over, at both ends.
    server.wait_for(
        "sum(flowmon_tcp_failed_connections_total{reason='refused'})",
        2.0,
    )?;
    // Of the alerts, the one.
    let fires = "ALERTS{alertstate='firing',alertname='FlowmonPolicyViolation',endpoint='web'}";
    server.wait_for(fires, 1.0)?;
    server.wait_for("count(ALERTS{alertstate='firing'})", 1.0)?;
    for query in panels()? {
        // Nothing had to be sent again.
        if !query.contains("flowmon_tcp_retransmits") {
            server.wait_for_any(&query)?;
        }
    }
    // Round trips: a quantile is within the bounds that the page's buckets have.
    let quantile = "histogram_quantile(0.9, sum by (le) (flowmon_tcp_handshake_seconds_bucket))";
    let quantile = server.value(quantile)?.ok_or("no handshakes")?;
    assert!(quantile > 0.0 && quantile < 1.2, "{quantile}");

    let page = http_get(site.lab.node(), metrics, "/metrics")?;
    for family in [
        "flowmon_policy_violations_total{",
        "flowmon_policy_undecided_total{",
        "flowmon_tcp_rtt_seconds_bucket{",
        "flowmon_tcp_failed_connections_total{",
    ] {
        assert!(page.contains(family), "{family} is not looked at: {page}");
    }
    assert_eq!(checked(&page)?, "");
    assert_ne!(
        checked(&page.replace("flowmon_flows_total", "flowmon_flows"))?,
        "",
        "promtool would say so"
    );
    assert_eq!(daemon.stop().code, Some(0));
    Ok(())
}

/// What the dashboard's panels ask for.
fn panels() -> Result<Vec<String>, Box<dyn Error>> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../deploy/grafana/flowmon.json"
    );
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
    let panels = dashboard.pointer("/panels").and_then(Value::as_array);
    let targets = panels.into_iter().flatten().filter_map(|panel| {
        let targets = panel.pointer("/targets")?;
        targets.as_array()
    });
    let queries = targets.flatten().filter_map(|target| {
        let query = target.pointer("/expr")?.as_str()?;
        let query = query.replace("$__rate_interval", "1m");
        Some(query.replace("$instance", ".*").replace("$namespace", ".*"))
    });
    let queries: Vec<String> = queries.collect();
    assert!(queries.len() > 10, "{queries:?}");
    Ok(queries)
}

/// What promtool has to say about a page.
fn checked(page: &str) -> Result<String, Box<dyn Error>> {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().ok_or("no stdin")?;
    stdin.write_all(page.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8(said)?)
}

#[test]
fn what_has_no_series_of_its_own_is_in_the_sums() -> TestResult {
    const PEERS: u16 = 400;
    if !require_programs(
        "what_has_no_series_of_its_own_is_in_the_sums",
        &["prometheus"],
    ) {
        return Ok(());
    }
    let site = Site::new("budget");
    let (mut daemon, metrics) = site.start(&["--max-series", "1000"]);
    let pod = site.add(&mut daemon, "p", 2)?;
    let server = Prometheus::start(&site, metrics)?;
    // All of that network is the node.
    let everywhere = ["route", "add", "local", "10.79.0.0/16", "dev", "lo"];
    tool(site.lab.node(), "ip", &everywhere);
    for number in 1..=PEERS {
        let [high, low] = number.to_be_bytes();
        let peer = [10, 79, high, low].into();
        assert_eq!(traffic::ping(&pod.namespace, peer, number, 2, 100)?, 2);
    }
    let truth = interface_counters(site.lab.node(), &pod);
    for (unit, way, truth) in parts(truth) {
        let sum = format!("sum(flowmon_flow_{unit}_total{{way='{way}'}})");
        server.wait_for(&sum, truth as f64)?;
    }
    server.wait_for(
        "sum(flowmon_flows_total{protocol='icmp'}) + ignoring(peer) \
                     sum(flowmon_flows_total{peer='other'})",
        PEERS.into(),
    )?;
    // Each named peer has its two packets, and the others all the rest.
    let named = server.value("count(flowmon_flow_packets_total{protocol='icmp',way='tx'})")?;
    let named = named.ok_or("nobody has a name")?;
    assert!(named > 30.0 && named < 200.0, "{named}");
    server.wait_for(
        "sum(flowmon_flow_packets_total{protocol='icmp',way='tx'})",
        2.0 * named,
    )?;
    let rest = 2.0 * (f64::from(PEERS) - named);
    server.wait_for("flowmon_flow_packets_total{peer='other',way='tx'}", rest)?;
    let suppressed = f64::from(PEERS) - named;
    server.wait_for("flowmon_series_suppressed_total", suppressed)?;
    let series = server.value("count({__name__=~'flowmon_(flow|interface|tcp|policy).+'})")?;
    assert!(series < Some(1000.0), "{series:?}");
    assert_eq!(daemon.stop().code, Some(0));
    Ok(())
}

/// Seconds since 1970.
fn seconds() -> Result<f64, Box<dyn Error>> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}

#[test]
fn rates_are_those_of_what_was_sent() -> TestResult {
    /// Ethernet, IPv4 and UDP headers, and a payload.
    const PACKET: f64 = 14.0 + 20.0 + 8.0 + 958.0;
    /// A sample is as old as an interval, and what a busy machine needs for it and to serve it.
    const AGE: f64 = 0.1 + 0.6;
    if !require_programs("rates_are_those_of_what_was_sent", &["prometheus"]) {
        return Ok(());
    }
    let site = Site::new("rates");
    let (mut daemon, metrics) = site.start(&[]);
    let [from, to] = [
        site.add(&mut daemon, "a", 2)?,
        site.add(&mut daemon, "b", 3)?,
    ];
    let server = Prometheus::start(&site, metrics)?;
    let [sender, receiver] =
        [&from, &to].map(|pod| pod.namespace.run(|| UdpSocket::bind("0.0.0.0:9000")));
    let (sender, _receiver) = (sender??, receiver??);
    // A steady stream for longer than the window, and when each packet was sent.
    let mut sent = Vec::new();
    for _ in 0..800 {
        sent.push(seconds()?);
        sender.send_to(&[0; 958], (address(&to)?, 9000))?;
        std::thread::sleep(Duration::from_millis(10));
    }
    let until = |time: f64| PACKET * sent.partition_point(|one| *one < time) as f64;
    let series = "flowmon_flow_bytes_total{endpoint='vetha',protocol='udp',way='tx'}";
    let all = PACKET * sent.len() as f64;
    server.wait_for(series, all)?;

    let raw = server.ask(&format!("{series}[1m]"))?;
    let raw = raw.first().and_then(|one| one.pointer("/values"));
    let sample = |pair: &Value| -> Option<(f64, f64)> {
        Some((pair.get(0)?.as_f64()?, pair.get(1)?.as_str()?.parse().ok()?))
    };
    let raw = raw.and_then(Value::as_array).ok_or("no samples")?;
    let samples: Option<Vec<(f64, f64)>> = raw.iter().map(sample).collect();
    let samples = samples.ok_or("no samples")?;
    assert!(samples.len() > 20, "{samples:?}");
    for &(time, value) in &samples {
        // Its time is when the scrape began: the answer may tell of what came while it was on its way.
        let possible = until(time - AGE)..=until(time + AGE);
        assert!(
            possible.contains(&value),
            "at {time}: {value}, not {possible:?}"
        );
    }
    // The rate over the middle, as Prometheus works it out, against what was sent meanwhile.
    let (Some(begin), Some(end)) = (sent.first(), sent.last()) else {
        return Ok(());
    };
    let at = end - 1.0;
    let window = at - begin - 1.0;
    assert!(window > 4.0, "{window}");
    let milliseconds = (window * 1000.0).round();
    let query = format!("rate({series}[{milliseconds}ms] @ {at:.3})");
    let rate = server.value(&query)?.ok_or("no rate")?;
    let least = (until(at - AGE) - until(at - window + AGE)) / window;
    let most = (until(at + AGE) - until(at - window - AGE)) / window;
    assert!(
        (least..=most).contains(&rate),
        "{rate}, not {least} to {most}"
    );
    assert_eq!(daemon.stop().code, Some(0));
    Ok(())
}
